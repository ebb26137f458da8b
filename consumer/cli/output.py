"""How commands print: data for programs, tables, numbers and times for people."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
import time
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

from consumer.columns import is_numeric, least_width, shared_out, together

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from policy_state.reports.shares import Share

VERSION: Final = 1
"""Version of the JSON and YAML documents; it rises when a field changes its meaning or goes."""

_WATCH_S: Final = 2.0
_CLEAR: Final = "\x1b[H\x1b[2J"
_DURATION: Final = re.compile(r"(\d{1,15}(?:\.\d+)?)\s*(ms|s|min|m|h|d)")
_UNIT_MS: Final = {
    "ms": 1,
    "s": 1000,
    "m": 60_000,
    "min": 60_000,
    "h": 3_600_000,
    "d": 86_400_000,
}


class Output(StrEnum):
    """How data is printed."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"
    CSV = "csv"


OutputOption = Annotated[
    Output,
    typer.Option(
        "--output", "-o", metavar="FORMAT", help="table for people; json, yaml or csv for programs."
    ),
]


def emit(
    output: Output,
    kind: str,
    rows: Sequence[Mapping[str, Any]],
    *,
    rows_name: str,
    table: Sequence[Mapping[str, object]] | None = None,
    empty: str = "nothing",
    columns: Sequence[str] = (),
    spare: Sequence[str] = (),
    **head: object,
) -> None:
    """Print rows in the wanted format, as a document that says what they are.

    Args:
        output: The format.
        kind: What the rows are, for programs.
        rows: The rows for programs, and for people unless there is a `table`.
        rows_name: The name of the rows in JSON and YAML.
        table: The rows for people.
        empty: What stderr says if there are no rows.
        columns: The columns of the CSV if there are no rows.
        spare: Columns of the table to leave out on a narrow terminal, in this order.
        head: What goes before the rows in JSON and YAML.
    """
    if output is Output.CSV:
        typer.echo(_as_csv(rows, columns), nl=False)
    else:
        data = document(kind, rows, rows_name=rows_name, **head)
        print_data(output, data, table if table is not None else rows, empty=empty, spare=spare)


def document(
    kind: str, rows: Sequence[Mapping[str, Any]], *, rows_name: str, **head: object
) -> dict[str, Any]:
    """Return rows as the document that programs get; see `emit`."""
    return {"version": VERSION, "kind": kind, **head, rows_name: list(rows)}


def print_data(
    output: Output,
    data: object,
    rows: Sequence[Mapping[str, object]],
    *,
    empty: str = "",
    spare: Sequence[str] = (),
    prose: str | None = None,
) -> None:
    """Print data in the wanted format: all of it as JSON or YAML, its rows as CSV or a table.

    Args:
        output: The format.
        data: The data for JSON and YAML.
        rows: The rows for people and spreadsheets.
        empty: What stderr says if there are no rows.
        spare: As in `print_table`.
        prose: As in `print_table`.
    """
    if output is Output.TABLE:
        print_table(rows, empty=empty, spare=spare, prose=prose)
    elif output is Output.CSV:
        typer.echo(_as_csv(rows), nl=False)
    elif output is Output.YAML:
        import yaml

        # Through JSON: tuples and enumerations become what any reader of YAML knows.
        plain = json.loads(json.dumps(data))
        typer.echo(yaml.safe_dump(plain, sort_keys=False, allow_unicode=False), nl=False)
    else:
        typer.echo(json.dumps(data, indent=2, ensure_ascii=True))


def _as_csv(rows: Sequence[Mapping[str, Any]], columns: Sequence[str] = ()) -> str:
    """Return rows as CSV, nested values as JSON; without rows the header has `columns`."""
    text = io.StringIO()
    if names := list(rows[0]) if rows else columns:
        writer = csv.DictWriter(text, fieldnames=names, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({name: _cell(value) for name, value in row.items()})
    return text.getvalue()


def _cell(value: object) -> object:
    if isinstance(value, list | tuple | dict):
        return json.dumps(value)
    if not isinstance(value, str):
        return value
    # A spreadsheet runs what begins like a formula; a quote keeps it text.
    quote = "'" if value[:1] in {"=", "+", "-", "@"} else ""
    return quote + printable(value)


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
    least = {name: least_width(name, cells[name], prose) for name in cells}
    for name in spare:
        if name in cells and together(least) > console.width:
            left_out.append(name)
            del cells[name], least[name]
    fits = together(least) <= console.width
    widths = shared_out(cells, least, console.width) if fits else {}
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name, column in cells.items():
        numeric = is_numeric(column)
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


def repeat(watch: bool, draw: Callable[[], None]) -> None:
    """Draw once, or with `watch` repeatedly until Ctrl-C, waiting while Redis is unreachable."""
    draw()
    if not watch:
        return
    from policy_state.errors import StoreUnavailable

    try:
        while True:
            sys.stdout.flush()
            time.sleep(_WATCH_S)
            if sys.stdout.isatty():
                typer.echo(_CLEAR, nl=False)
            try:
                draw()
            except StoreUnavailable as error:
                typer.echo(f"{printable(error)}; asked again every {_WATCH_S:.0f} s", err=True)
    except KeyboardInterrupt:
        return


def printable(value: object) -> str:
    """Return a value as text that cannot change the terminal."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:z.3f}"
    text = str(value)
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def duration_ms(text: str) -> int:
    """Read a duration such as `2h`, `30min`, `1.5d`.

    Raises:
        InvalidSettings: the text is not a duration.
    """
    from consumer.errors import InvalidSettings

    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise InvalidSettings(f"duration {printable(text)!r}, expected 30s, 45min, 2h or the like")
    return int(float(match[1]) * _UNIT_MS[match[2]])


def said(value: object) -> str:
    """Return the value of a setting for people."""
    return "none" if value is None else str(value)


def percent(share: float | None) -> str:
    """Return a share as a percentage."""
    return "-" if share is None else f"{share:z.1%}"


def measured(share: Share | None) -> str:
    """Return a share as a percentage, and how many points the truth may be away from it."""
    return "-" if share is None else f"{percent(share.share)} ±{100 * share.within:.1f}"


def since(time_ms: int | None) -> str:
    """Return how long ago a time was."""
    if time_ms is None:
        return "never"
    return f"{span(datetime.now(UTC).timestamp() * 1000 - time_ms)} ago"


def span(length_ms: float) -> str:
    """Return a length of time in its largest unit."""
    seconds = max(0, int(length_ms / 1000))
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def clock(time_ms: int) -> str:
    """Return a time for people, in UTC; the stored number if no calendar has it."""
    try:
        return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return f"{time_ms} ms"
