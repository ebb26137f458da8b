"""Which offsets of one partition are counted: all below a mark, but for the gaps in it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

GAPS_MAX: Final = 1000
"""Gaps kept per partition; where there are more, the smallest is given up, and said to be lost."""

_COUNT: Final = re.compile(r"[0-9]{1,16}")
_GAPS: Final = re.compile(r"([0-9]{1,16}-[0-9]{1,16}( [0-9]{1,16}-[0-9]{1,16})*)?")

Range = tuple[int, int]
"""Offsets `first..next - 1`."""


class Status(StrEnum):
    """What became of one part. All three are normal answers."""

    APPLIED = "applied"
    DUPLICATE = "duplicate"  # all of it was counted before; nothing changed
    OVERLAP = (
        "overlap"  # some of it was counted before; nothing changed, `missing` says what is not
    )


@dataclass(frozen=True, slots=True)
class Counted:
    """The offsets of one partition that are counted: each below `upto` that is in no gap.

    A gap opens where a part starts above `upto`: of texts that another worker still has to bring,
    that went with a worker, or that a failing server lost. A part that fills a gap is counted,
    whenever it comes. Offsets without a text (transaction markers) belong to the part after them.
    """

    upto: int = 0
    gaps: tuple[Range, ...] = ()  # rising, apart

    def open_below(self, end: int) -> tuple[Range, ...]:
        """Return what is not counted of the offsets below `end`.

        >>> Counted(100, ((20, 40), (90, 95))).open_below(110)
        ((20, 40), (90, 95), (100, 110))
        """
        return within((*self.gaps, (self.upto, max(end, self.upto))), (0, end))


def uncovered(wanted: Range, taken: Iterable[Range]) -> tuple[Range, ...]:
    """Return the pieces of a range that lie in none of the ranges taken.

    >>> uncovered((0, 10), [(7, 8), (2, 4)])
    ((0, 2), (4, 7), (8, 10))
    """
    pieces = [wanted]
    for first, following in taken:
        pieces = [left for piece in pieces for left in outside(piece, first, following)]
    return tuple(pieces)


def within(pieces: tuple[Range, ...], span: Range) -> tuple[Range, ...]:
    """Return the parts of rising pieces that lie in a range, joined where they touch.

    >>> within(((0, 5), (5, 7), (9, 20)), (3, 10))
    ((3, 7), (9, 10))
    """
    first, following = span
    found: list[Range] = []
    for low, high in pieces:
        start, end = max(low, first), min(high, following)
        if start < end:
            if found and found[-1][1] == start:
                start = found.pop()[0]
            found.append((start, end))
    return tuple(found)


def format_gaps(gaps: tuple[Range, ...]) -> str:
    """Return gaps as they are stored.

    >>> format_gaps(((0, 5), (7, 9)))
    '0-5 7-9'
    """
    return " ".join(f"{first}-{following}" for first, following in gaps)


def parse_gaps(text: str) -> tuple[Range, ...]:
    """Read what `format_gaps` wrote."""
    pairs = (gap.split("-") for gap in text.split())
    return tuple((int(first), int(following)) for first, following in pairs)


def read_counted(upto: str, gaps: str) -> Counted:
    """Read a watermark and its gaps as they are stored.

    Raises:
        ValueError: They are none.
    """
    if not (_COUNT.fullmatch(upto) and _GAPS.fullmatch(gaps)):
        raise ValueError(
            f"{upto[:40]!r} with gaps {gaps[:40]!r}, expected like '20' with '0-5 7-9'"
        )
    counted = Counted(int(upto), parse_gaps(gaps))
    if any(first >= following for first, following in counted.gaps):
        raise ValueError(f"gaps {gaps[:40]!r}, expected each to begin before it ends")
    return counted


def outside(gap: Range, first: int, following: int) -> list[Range]:
    """Return the parts of a gap that lie outside of the offsets `first..following - 1`."""
    low, high = gap
    pieces = [(low, min(high, first)), (max(low, following), high)]
    return [(start, end) for start, end in pieces if start < end]
