"""What `apply.lua` does with the offsets of a part: held against those counted before."""

from __future__ import annotations

from dataclasses import dataclass

from policy_state.store.offsets import GAPS_MAX, Counted, Range, Status, outside, within


@dataclass(frozen=True, slots=True)
class Judged:
    """What a range of offsets is to what was counted before."""

    status: Status
    missing: tuple[Range, ...]  # the pieces of the range that are not counted; () if none
    after: Counted  # with the range in it, where the status is applied
    lost: int = 0  # offsets of gaps that there was no room for


def judged(counted: Counted, first: int, following: int) -> Judged:
    """Return what becomes of the offsets `first..following - 1`."""
    if first >= counted.upto:
        opened = ((counted.upto, first),) if first > counted.upto else ()
        gaps, lost = _bounded(counted.gaps + opened)
        return Judged(Status.APPLIED, (), Counted(following, gaps), lost)
    missing = within((*counted.gaps, (counted.upto, following)), (first, following))
    if not missing:
        return Judged(Status.DUPLICATE, (), counted)
    if missing != ((first, following),):
        return Judged(Status.OVERLAP, missing, counted)
    left = tuple(piece for gap in counted.gaps for piece in outside(gap, first, following))
    gaps, lost = _bounded(left)
    return Judged(Status.APPLIED, (), Counted(max(counted.upto, following), gaps), lost)


def _bounded(gaps: tuple[Range, ...]) -> tuple[tuple[Range, ...], int]:
    """Return the gaps that are kept, and how many offsets the others have."""
    lost = 0
    while len(gaps) > GAPS_MAX:
        smallest = min(range(len(gaps)), key=lambda i: gaps[i][1] - gaps[i][0])
        lost += gaps[smallest][1] - gaps[smallest][0]
        gaps = gaps[:smallest] + gaps[smallest + 1 :]
    return gaps, lost
