"""Samples of a domain's counters over time: at 16, 24, 32, 48, 64 .. texts, twice a doubling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from policy_state.store.values import DomainSnapshot

SAMPLES: Final = 5_000
"""About how many samples a policy keeps, of all its domains together; the latest stay."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A domain as it was."""

    time_ms: int  # the store's clock
    record: DomainSnapshot
