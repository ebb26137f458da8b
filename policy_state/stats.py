"""The counters of one domain: plain integers that add up in any order."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field, fields
from functools import lru_cache
from itertools import chain
from operator import add, attrgetter
from typing import TYPE_CHECKING, Any, Final, Self

from policy_state.counting import (
    GATE_GRID,
    THOUSAND,
    TextArrays,
    arrays_of,
    columns,
    misleading,
    squared,
)
from policy_state.errors import InvalidInput
from policy_state.wording import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

COUNT_MAX: Final = 2**53 - 1
"""Largest count kept: beyond it Lua and JavaScript numbers are no longer exact."""

Z_95: Final = 1.959964
"""Half a 95 % interval, in standard errors."""

_FEW: Final = 16  # different labels of texts that are added one by one faster than by numpy
_REMEMBERED: Final = 4096


def _kind(letter: str, adds: Callable[[TextArrays], NDArray[Any]], *, most: float = 1) -> Any:  # noqa: ANN401 - as field()
    """Declare a kind of counter.

    Args:
        letter: How it is called in exports, before the exit.
        adds: What texts add to it at each exit.
        most: What one text that computed the exit may add; infinite if others add to it, too.
    """
    return field(default=(), metadata={"letter": letter, "adds": adds, "most": most})


@dataclass(frozen=True, slots=True)
class ExitStats:
    """What each exit has been seen to do on the texts of one domain.

    Every tuple has one entry per exit, shallowest first; those not given are all zeros. No count
    of an exit is above `observed`, and no sum of thousandths above a thousand times that. A text
    that met the gate is in `gated` and nowhere else: neither those that it lets go nor the others
    are a fair sample of the domain. A text held out to measure is counted like any other, and in
    `held` besides. The counters say nothing of how exits are chosen, so they can be counted again
    from predictions. Here alone a kind of counter is named: stores, documents and sums take the
    kinds in this order, exit by exit.

    >>> first = ExitStats.from_labels([0, 1], exits=3)
    >>> (first + ExitStats.from_labels([1], exits=3)).observed
    (2, 1, 0)
    """

    # n[j]: texts that computed exit j
    observed: tuple[int, ...] = _kind("n", lambda of: of.ran)
    # d[j]: of those, texts whose label at j differed from exit 0's
    disagreed: tuple[int, ...] = _kind("d", lambda of: of.differs)
    # p[j]: texts that stopped at exit j
    played: tuple[int, ...] = _kind("p", lambda of: of.stopped)
    # g[j]: texts that differ from exit 0 at j, not yet at j - 1
    gained: tuple[int, ...] = _kind("g", lambda of: of.steps > 0)
    # l[j]: texts that differ from exit 0 at j - 1, no more at j
    lost: tuple[int, ...] = _kind("l", lambda of: (of.steps < 0) & of.ran)
    # a[j]: texts run to the last exit, whose label differs from j's
    apart: tuple[int, ...] = _kind(
        "a", lambda of: (of.labels != of.labels[:, -1:]) & of.ran[:, -1:]
    )
    # o[j]: texts with an odd label at j; of two classes, class 1
    odd: tuple[int, ...] = _kind("o", lambda of: (of.labels & 1) * of.ran)
    # h[j]: texts with label 2 or 3 at j, or 6 or 7, and so on
    high: tuple[int, ...] = _kind("h", lambda of: (of.labels >> 1 & 1) * of.ran)
    # e[j]: duels, texts whose label at j differs from that at j - 1
    duels: tuple[int, ...] = _kind("e", lambda of: of.duels)
    # c[j]: what the step to j is worth, thousandths summed over the texts of `observed`
    credit: tuple[int, ...] = _kind("c", lambda of: of.credits, most=THOUSAND)
    # q[j]: the same squared, text by text
    squares: tuple[int, ...] = _kind("q", lambda of: of.squares, most=THOUSAND)
    # s[j]: calibrated scores of j's label, thousandths summed over the texts of `observed`
    confidence: tuple[int, ...] = _kind("s", lambda of: of.scores, most=THOUSAND)
    # u[j]: texts run to the last exit to measure, of which j's label would have been sent
    held: tuple[int, ...] = _kind("u", lambda of: of.held)
    # v[j]: of those, texts whose label at j differs from the last exit's
    parted: tuple[int, ...] = _kind("v", lambda of: of.held & (of.labels != of.labels[:, -1:]))
    # x[j]: texts that met the gate and stopped at j; `counts_of` counts them
    gated: tuple[int, ...] = _kind("x", lambda of: of.nothing, most=math.inf)
    # w600.[j]: texts stopped at j that a gate at 600 would have let go before, with another label
    misled_600: tuple[int, ...] = _kind("w600.", lambda of: of.misled(600))
    misled_650: tuple[int, ...] = _kind("w650.", lambda of: of.misled(650))
    misled_700: tuple[int, ...] = _kind("w700.", lambda of: of.misled(700))
    misled_750: tuple[int, ...] = _kind("w750.", lambda of: of.misled(750))
    misled_800: tuple[int, ...] = _kind("w800.", lambda of: of.misled(800))
    misled_830: tuple[int, ...] = _kind("w830.", lambda of: of.misled(830))
    misled_860: tuple[int, ...] = _kind("w860.", lambda of: of.misled(860))
    misled_890: tuple[int, ...] = _kind("w890.", lambda of: of.misled(890))
    misled_920: tuple[int, ...] = _kind("w920.", lambda of: of.misled(920))
    misled_940: tuple[int, ...] = _kind("w940.", lambda of: of.misled(940))
    misled_960: tuple[int, ...] = _kind("w960.", lambda of: of.misled(960))
    misled_975: tuple[int, ...] = _kind("w975.", lambda of: of.misled(975))
    misled_990: tuple[int, ...] = _kind("w990.", lambda of: of.misled(990))

    def __post_init__(self) -> None:
        """Refuse tuples of different lengths and negative counts."""
        exits = len(self.observed)
        if not exits:
            raise InvalidInput("observed has 0 entries, expected one per exit")
        for name in KINDS:
            counts = getattr(self, name) or (0,) * exits
            if len(counts) != exits:
                raise InvalidInput(f"{name} has {len(counts)} entries, observed has {exits}")
            if min(counts) < 0:
                raise InvalidInput(f"a count is negative: {name} {counts}")
            object.__setattr__(self, name, counts)

    @classmethod
    def zeros(cls, exits: int) -> Self:
        """Return the counters of a domain that has seen no text."""
        return cls((0,) * exits)

    @classmethod
    def from_labels(cls, exit_labels: Sequence[int], *, exits: int) -> Self:
        """Return what one text adds, given the labels of exits 0..k where it stopped at k."""
        return cls.from_texts([exit_labels], exits=exits)

    @classmethod
    def from_texts(
        cls,
        exit_labels: Iterable[Sequence[int]],
        *,
        exits: int,
        credits: Sequence[Sequence[int]] | None = None,
        scores: Sequence[Sequence[int]] | None = None,
        chosen: Sequence[int | None] | None = None,
    ) -> Self:
        """Return what many texts add; the same as adding them up one by one, many times as fast.

        Args:
            exit_labels: Of each text the labels of exits 0..k where it stopped at k.
            exits: Of the policy.
            credits: What the step to each of these exits is worth, thousandths; None for a model
                without calibration.
            scores: Of the label of each of these exits, thousandths; None as for `credits`.
            chosen: The exit that would have been sent, for a text that ran to the last exit to
                measure, which it may be itself.

        Raises:
            InvalidInput: More or fewer numbers than exits that ran, or numbers that cannot be.
        """
        rows = list(map(tuple, exit_labels))
        wanted = (None,) * len(rows) if chosen is None else tuple(chosen)
        alike = Counter(zip(rows, wanted, strict=False))
        if len(alike) > _FEW or len(wanted) != len(rows):
            return cls.from_matrix(**arrays_of(rows, exits, credits, scores, chosen))
        sums = [0] * (len(KINDS) * exits)
        for (labels, exit_), times in alike.items():
            for place, count in _counts_of(labels, exit_, exits):
                sums[place] += times * count
        if credits is not None:
            seen = columns(credits, rows, exits, "credit")
            sums[_at("credit")] = map(sum, seen)
            sums[_at("squares")] = (sum(map(squared, filter(None, column))) for column in seen)
        if scores is not None:
            sums[_at("confidence")] = map(sum, columns(scores, rows, exits, "score"))
            for stop, place in misleading(rows, scores):
                sums[stop * len(KINDS) + _MISLED_AT + place] += 1
        return cls.from_flat(sums)

    @classmethod
    def from_matrix(
        cls,
        labels: NDArray[np.integer],
        *,
        credits: NDArray[np.integer] | None = None,
        scores: NDArray[np.integer] | None = None,
        chosen: NDArray[np.integer] | None = None,
    ) -> Self:
        """Return what the rows of a matrix (texts, exits) add; -1 where an exit did not run.

        Args:
            labels: The matrix.
            credits: As wide, thousandths; whatever stands where an exit did not run.
            scores: The same.
            chosen: (texts,); the exit that would have been sent, -1 for the one where it stopped.
        """
        of = TextArrays.of(labels, credits, scores, chosen)
        counts = (adds(of) for adds in ADDS.values())
        return cls(*(() if c is of.nothing else tuple(c.sum(axis=0).tolist()) for c in counts))

    @classmethod
    def from_flat(cls, counts: Sequence[int]) -> Self:
        """Return checked counters: all kinds of exit 0, then of exit 1, and so on; much faster."""
        made = cls.__new__(cls)
        for at, name in enumerate(KINDS):
            object.__setattr__(made, name, tuple(counts[at :: len(KINDS)]))
        return made

    def by_exit(self) -> Iterator[tuple[int, ...]]:
        """Return the counters of each exit, in the order of the kinds."""
        return zip(*_columns(self), strict=True)

    @classmethod
    def from_fields(cls, fields: Mapping[str, object], *, exits: int) -> Self:
        """Read what `to_fields` wrote; a missing field is 0, other fields are left alone."""
        names = (f"{letter}{j}" for j in range(exits) for letter in KINDS.values())
        return cls.from_flat([_count(fields.get(name, 0), name) for name in names])

    def to_fields(self) -> dict[str, int]:
        """Return the counts that are not zero, each by the letter of its kind and its exit.

        >>> ExitStats.from_labels([0, 2], exits=3).to_fields()
        {'n0': 1, 'n1': 1, 'd1': 1, 'p1': 1, 'g1': 1, 'h1': 1, 'e1': 1}
        """
        return {
            f"{letter}{j}": count
            for j, counts in enumerate(self.by_exit())
            for letter, count in zip(KINDS.values(), counts, strict=True)
            if count
        }

    def __add__(self, other: Self) -> Self:
        """Return the counters of both together."""
        if self.exits != other.exits:
            raise InvalidInput(
                f"counters of {counted(self.exits, 'exit')} plus counters of {other.exits}"
            )
        both = zip(_columns(self), _columns(other), strict=True)
        return type(self)(*(tuple(map(add, ours, theirs)) for ours, theirs in both))

    @property
    def exits(self) -> int:
        """How many exits the counters are for."""
        return len(self.observed)

    @property
    def texts(self) -> int:
        """How many texts were counted exit by exit."""
        return sum(self.played)

    @property
    def all_texts(self) -> int:
        """How many texts were counted, those that met the gate among them."""
        return self.texts + sum(self.gated)


KINDS: Final[Mapping[str, str]] = {kind.name: kind.metadata["letter"] for kind in fields(ExitStats)}
"""The kinds of counters, in order, and how each is called in exports before the exit's number."""

MOST: Final[Mapping[str, float]] = {kind.name: kind.metadata["most"] for kind in fields(ExitStats)}
"""What one text that computed an exit may add to each kind."""

ADDS: Final[Mapping[str, Callable[[TextArrays], NDArray[Any]]]] = {
    kind.name: kind.metadata["adds"] for kind in fields(ExitStats)
}
"""What texts add to each kind, (texts, exits)."""

MISLED: Final = tuple(f"misled_{threshold}" for threshold in GATE_GRID)
"""The kinds that say how often each threshold of the gate misleads, in the order of the grid."""

_columns: Final = attrgetter(*KINDS)
_MISLED_AT: Final = list(KINDS).index(MISLED[0])


@lru_cache(_REMEMBERED)
def _counts_of(
    exit_labels: tuple[int, ...], chosen: int | None, exits: int
) -> tuple[tuple[int, int], ...]:
    """Return what one text adds without its credits and scores, and where: exit by exit."""
    stats = ExitStats.from_matrix(**arrays_of([exit_labels], exits, chosen=[chosen]))
    added = enumerate(chain.from_iterable(stats.by_exit()))
    return tuple((place, count) for place, count in added if count)


@lru_cache
def _at(kind: str) -> slice:
    """Return where the counts of a kind stand among all, exit by exit."""
    return slice(list(KINDS).index(kind), None, len(KINDS))


def _count(value: object, name: str) -> int:
    if type(value) is not int or not 0 <= value <= COUNT_MAX:
        raise InvalidInput(f"field {name} holds {value!r:.40}, expected an integer 0..{COUNT_MAX}")
    return value
