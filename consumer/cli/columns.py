"""Tables for people, as wide as their terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import typer

from consumer.cli.output import printable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_NUMERIC: Final = frozenset("0123456789.%-:± ")  # numbers, lists of them, times
_TEXT_WIDTH: Final = 16  # longer words are folded, so that fewer columns are left out
_PROSE_WIDTH: Final = 32  # sentences, likewise
_GAP: Final = 2  # between two columns


def print_table(
    rows: Sequence[Mapping[str, object]],
    *,
    empty: str,
    spare: Sequence[str] = (),
    prose: str | None = None,
) -> None:
    """Write rows as a table on stdout.

    Args:
        rows: The rows, all with the same columns.
        empty: What stderr says if there are no rows.
        spare: Columns to leave out, in this order, while the terminal is too narrow. Numbers are
            not wrapped if this makes enough room for them.
        prose: A column of sentences, which are wrapped and need more room than names.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if not rows:
        typer.echo(empty, err=True)
        return
    console = Console()
    cells = {name: [printable(row[name]) for row in rows] for name in rows[0]}
    left_out = []
    least = {name: _least_width(name, cells[name], prose) for name in cells}
    for name in spare:
        if name in cells and _together(least) > console.width:
            left_out.append(name)
            del cells[name], least[name]
    fits = _together(least) <= console.width
    widths = _shared_out(cells, least, console.width) if fits else {}
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name, column in cells.items():
        numeric = _is_numeric(column)
        justify: Literal["left", "right"] = "right" if numeric else "left"
        table.add_column(
            name,
            justify=justify,
            overflow="fold",
            no_wrap=numeric and fits,
            width=widths.get(name),  # or words are broken where others have room
        )
    for row in zip(*cells.values(), strict=True):
        table.add_row(*map(Text, row))
    console.print(table)
    if left_out:
        typer.echo(f"no room on this terminal for: {', '.join(left_out)}", err=True)


def _is_numeric(column: Sequence[str]) -> bool:
    return all(_NUMERIC.issuperset(cell) for cell in column)


def _least_width(name: str, column: Sequence[str], prose: str | None) -> int:
    """Return how wide a column must be for people to read it."""
    from rich.cells import cell_len

    whole = max(map(cell_len, [name, *column]))
    if _is_numeric(column):
        return whole
    if name == prose:
        return min(_PROSE_WIDTH, whole)
    words = [word for text in (name, *column) for word in text.split()]
    return min(_TEXT_WIDTH, max(map(cell_len, words), default=0))


def _shared_out(
    cells: Mapping[str, Sequence[str]], least: Mapping[str, int], room: int
) -> dict[str, int]:
    """Return the widths of columns: the widest ones give way, none below what it needs."""
    from rich.cells import cell_len

    widths = {name: max(map(cell_len, [name, *column])) for name, column in cells.items()}
    while _together(widths) > room:
        widest = max((n for n in widths if widths[n] > least[n]), key=widths.__getitem__)
        widths[widest] -= 1
    return widths


def _together(widths: Mapping[str, int]) -> int:
    return sum(widths.values()) + _GAP * (len(widths) - 1)
