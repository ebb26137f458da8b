"""What a fleet does to Redis, from measured costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

APPLY_S: Final = 210e-6
APPLY_COUNTER_S: Final = 23e-6
APPLY_BYTES: Final = 750
APPLY_COUNTER_BYTES: Final = 160
"""Redis's CPU time and bytes for a counted batch, and for each of its domains at each exit."""

BEATS_PER_S: Final = 4.0
LOOKS_PER_S: Final = 0.1
COMMAND_S: Final = 30e-6
"""The commands of a worker without texts, those with which it looks at each worker, and their CPU.

All of these: `python -m benchmarks.scale`, the table of what Redis does.
"""

DOMAIN_EXIT_BYTES: Final = 157
"""Memory of a domain, for each exit of a calibrated model: `python -m benchmarks.store`."""


@dataclass(frozen=True, slots=True)
class RedisLoad:
    """What the workers do to Redis."""

    commands_per_s: float
    bytes_per_s: float
    busy: float  # share of one core
    memory_bytes: int


def redis_load(
    workers: int, *, batches_per_s: float, batch: float, domains: int, exits: int
) -> RedisLoad:
    """Return what workers do to Redis; texts are spread evenly over the domains."""
    met = domains * (1 - (1 - 1 / domains) ** batch)  # in one batch
    idle = workers * (BEATS_PER_S + LOOKS_PER_S * workers)
    counters = met * exits
    return RedisLoad(
        commands_per_s=batches_per_s + idle,
        bytes_per_s=batches_per_s * (APPLY_BYTES + APPLY_COUNTER_BYTES * counters),
        busy=batches_per_s * (APPLY_S + APPLY_COUNTER_S * counters) + idle * COMMAND_S,
        memory_bytes=domains * exits * DOMAIN_EXIT_BYTES,
    )
