"""Counters as arrays, for one domain or many at once, and what they say of single exits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

if TYPE_CHECKING:
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

    @classmethod
    def of(cls, stats: ExitStats) -> Counters:
        """Return the counters of one domain, each (exits,)."""
        return cls(*(np.array(getattr(stats, kind), dtype=np.float64) for kind in cls._fields))

    def after(self, exit_: int, texts: float) -> Counters:
        """Return what is to be expected after so many texts more stop at an exit: equal means."""
        ran = np.arange(self.observed.shape[-1]) <= exit_
        growth = 1 + np.where(ran, texts / np.maximum(self.observed, 1), 0)
        kinds = {kind: counts * growth for kind, counts in self._asdict().items()}
        kinds["apart"] = self.apart * growth[..., -1:]  # counted on texts to the last exit only
        return Counters(**kinds)


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
