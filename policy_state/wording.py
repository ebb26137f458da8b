"""How numbers of things are written in messages."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def counted(number: int, thing: str, things: str | None = None) -> str:
    """Return a number with what is counted, in the singular or the plural.

    Args:
        number: How many.
        thing: What one of them is called.
        things: What several are called; by default with an s, and `-y` becomes `-ies`.

    >>> counted(1, "text"), counted(2, "text"), counted(2, "copy"), counted(1, "was", "were")
    ('1 text', '2 texts', '2 copies', '1 was')
    """
    if number == 1:
        return f"1 {thing}"
    if things is None:
        things = f"{thing[:-1]}ies" if thing.endswith("y") else f"{thing}s"
    return f"{number:d} {things}"


def in_ranges(numbers: Iterable[int]) -> str:
    """Return whole numbers, sorted, those that follow on each other as a range.

    >>> in_ranges([7, 0, 2, 1])
    '0-2,7'
    """
    runs = groupby(enumerate(sorted(numbers)), key=lambda each: each[1] - each[0])
    ends = [[number for _, number in run] for _, run in runs]
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in ends)
