"""Counters as arrays, for one domain or many at once, and what an algorithm makes of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from policy_state.counting import THOUSAND

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from policy_state.stats import ExitStats

    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]

SCREEN_EXPECTED: Final = 12.0
SCREEN_SHARE: Final = 0.1
"""An exit is constant where it gave the last exit's rarer labels to less than a tenth of the texts
that it should have given them to, and these should have been twelve or more."""


class Counters(NamedTuple):
    """`ExitStats` in floating point, each (..., exits): exact far beyond any stream."""

    observed: Floats
    disagreed: Floats
    gained: Floats
    lost: Floats
    apart: Floats
    odd: Floats
    high: Floats
    credit: Floats  # in thousandths, as in `ExitStats`
    squares: Floats

    @classmethod
    def of(cls, stats: ExitStats) -> Counters:
        """Return the counters of one domain, each (exits,)."""
        return cls(*(np.array(getattr(stats, kind), dtype=np.float64) for kind in cls._fields))

    @classmethod
    def of_many(cls, stats: Sequence[ExitStats]) -> Counters:
        """Return the counters of many domains, each (domains, exits)."""
        kinds = ([getattr(each, kind) for each in stats] for kind in cls._fields)
        return cls(*(np.array(rows, dtype=np.float64) for rows in kinds))

    def steps(self, *, credits: bool) -> tuple[Floats, Floats]:
        """Return what the step to each exit gained, and the same squared, summed over its texts.

        A text gains 1 where it leaves exit 0's label and -1 where it comes back to it; or, by
        `credits`, what its step is worth.
        """
        if credits:
            return self.credit / THOUSAND, self.squares / THOUSAND
        return self.gained - self.lost, self.gained + self.lost

    def after(self, exit_: int, texts: float) -> Counters:
        """Return what is to be expected after so many texts more stop at an exit: equal means."""
        ran = np.arange(self.observed.shape[-1]) <= exit_
        growth = 1 + np.where(ran, texts / np.maximum(self.observed, 1), 0)
        kinds = {kind: counts * growth for kind, counts in self._asdict().items()}
        kinds["apart"] = self.apart * growth[..., -1:]  # counted on texts to the last exit only
        return Counters(**kinds)


class Chosen(NamedTuple):
    """The exits of a micro-batch's events of one domain."""

    exits: tuple[int, ...]  # one for each event
    settled: int  # the exit of those that do not explore


@dataclass(frozen=True, slots=True)
class Assessment:
    """The exit that a domain has settled on, and why. Tuples have one entry per exit."""

    exit: int  # the best by what is known; scouts and probes may go elsewhere
    rewards: tuple[float | None, ...]  # estimated gain minus cost added, over `anchor`
    indices: tuple[float | None, ...]  # the most that the reward may be; None: not known
    screened: tuple[int, ...] = ()  # exits left out because they say the same of every text
    anchor: int = 0  # the exit that gains are counted from: 0, or the last where that says nothing


def known_values(values: Iterable[float], known: Iterable[bool]) -> tuple[float | None, ...]:
    """Return the values as plain numbers, None where not known or not finite."""
    return tuple(
        float(value) + 0.0 if seen and math.isfinite(value) else None  # -0.0 becomes 0.0
        for value, seen in zip(values, known, strict=True)
    )


def constant_exits(counters: Counters) -> Bools:
    """Return which exits say (nearly) the same of every text while the last exit does not.

    Labels are told apart by their last two bits: up to four classes that is each of them, and of
    two classes only one bit is in use. Of more classes an exit that says only such as are four
    apart (1 and 5) passes for constant. Where the last exit itself says nearly always the same,
    nothing is found: the domain may be so.
    """
    observed, odd, high = counters.observed, counters.odd, counters.high
    rarer = np.minimum(odd, observed - odd) + np.minimum(high, observed - high)
    expected = observed * (rarer[..., -1:] / np.maximum(observed[..., -1:], 1))
    return (expected >= SCREEN_EXPECTED) & (rarer < SCREEN_SHARE * expected)
