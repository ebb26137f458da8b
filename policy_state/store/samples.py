"""Samples of a domain's counters over time: when one is kept, and what it holds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from policy_state.store.port import DomainSnapshot

SAMPLES: Final = 5_000
"""About how many samples a policy keeps, of all its domains together; the latest stay."""

_FIRST: Final = 16


@dataclass(frozen=True, slots=True)
class Sample:
    """A domain as it was."""

    time_ms: int  # the store's clock
    record: DomainSnapshot


def sample_step(texts: int) -> int:
    """Return a number that rises where a sample is kept: at 16, 24, 32, 48, 64 .. texts.

    Two samples a doubling: what is learnt early is seen closely, and a domain of a million texts
    takes some thirty. The same arithmetic as in `apply.lua`.

    >>> [texts for texts in range(1, 100) if sample_step(texts) > sample_step(texts - 1)]
    [16, 24, 32, 48, 64, 96]
    """
    if texts < _FIRST:
        return 0
    share, power = math.frexp(texts)
    return 2 * power + (share >= 0.75)  # noqa: PLR2004 - half-way between two powers
