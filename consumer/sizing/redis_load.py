"""What a fleet does to Redis, from measured costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

APPLY_S: Final = 210e-6
APPLY_COUNTER_S: Final = 23e-6
APPLY_BYTES: Final = 750
APPLY_COUNTER_BYTES: Final = 225
"""Redis's CPU time and bytes for a counted batch of two partitions, and for each of its
domains at each exit of a calibrated model."""

BEATS_PER_S: Final = 4.0
BEAT_S: Final = 33e-6
LOOKS_PER_S: Final = 0.1
LOOK_S: Final = 15e-6
"""The commands of a worker without texts, and those with which it looks at each other worker.

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
    beats, looks = idle_commands_per_s(workers)
    counters = met * exits
    return RedisLoad(
        commands_per_s=batches_per_s + beats + looks,
        bytes_per_s=batches_per_s * (APPLY_BYTES + APPLY_COUNTER_BYTES * counters),
        busy=batches_per_s * (APPLY_S + APPLY_COUNTER_S * counters) + idle_busy(workers),
        memory_bytes=domains * exits * DOMAIN_EXIT_BYTES,
    )


def idle_commands_per_s(workers: int) -> tuple[float, float]:
    """Return what workers send without texts: for themselves, and to look at one another."""
    return workers * BEATS_PER_S, workers * workers * LOOKS_PER_S


def idle_busy(workers: int) -> float:
    """Return the share of one core that workers take without texts."""
    beats, looks = idle_commands_per_s(workers)
    return beats * BEAT_S + looks * LOOK_S
