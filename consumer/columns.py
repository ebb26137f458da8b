"""How wide the columns of a table are on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_NUMERIC: Final = frozenset("0123456789.%-:± ")  # numbers, lists of them, times
_TEXT_WIDTH: Final = 16  # longer words are folded, so that fewer columns are left out
_PROSE_WIDTH: Final = 32  # sentences, likewise
_GAP: Final = 2  # between two columns


def is_numeric(column: Sequence[str]) -> bool:
    """Return whether a column has numbers, lists of them, or times."""
    return all(_NUMERIC.issuperset(cell) for cell in column)


def least_width(name: str, column: Sequence[str], prose: str | None) -> int:
    """Return how wide a column must be for people to read it."""
    from rich.cells import cell_len

    whole = max(map(cell_len, [name, *column]))
    if is_numeric(column):
        return whole
    if name == prose:
        return min(_PROSE_WIDTH, whole)
    words = [word for text in (name, *column) for word in text.split()]
    return min(_TEXT_WIDTH, max(map(cell_len, words), default=0))


def shared_out(
    cells: Mapping[str, Sequence[str]], least: Mapping[str, int], room: int
) -> dict[str, int]:
    """Return the widths of columns: the widest ones give way, none below what it needs."""
    from rich.cells import cell_len

    widths = {name: max(map(cell_len, [name, *column])) for name, column in cells.items()}
    while together(widths) > room:
        widest = max((n for n in widths if widths[n] > least[n]), key=widths.__getitem__)
        widths[widest] -= 1
    return widths


def together(widths: Mapping[str, int]) -> int:
    """Return how wide columns are side by side."""
    return sum(widths.values()) + _GAP * (len(widths) - 1)
