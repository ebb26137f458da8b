"""Paired timing: every round runs every contestant once, and ratios are taken within rounds."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds of each contestant in each round."""

    seconds: dict[str, list[float]]

    def median_s(self, name: str) -> float:
        """Return the median time of one contestant."""
        return statistics.median(self.seconds[name])

    def speedup(self, name: str, over: str) -> float | None:
        """Return how many times as fast `name` is as `over`: the median of the rounds' ratios."""
        if name not in self.seconds or over not in self.seconds:
            return None
        pairs = zip(self.seconds[over], self.seconds[name], strict=True)
        return statistics.median(theirs / ours for theirs, ours in pairs)


def clock_for(*, device: str, threads: int) -> Clock:
    """Return the clock to compare with: CPU seconds of one thread, else the wall's.

    CPU seconds leave out the time in which other processes had the core.
    """
    return time.process_time if device == "cpu" and threads == 1 else time.perf_counter


def paired(
    contestants: Mapping[str, Callable[[], object]], *, rounds: int, clock: Clock
) -> Timings:
    """Time contestants side by side; each runs once before, so that kernels are built."""
    for run in contestants.values():
        run()
    names = list(contestants)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        start_at = number % len(names)
        for name in names[start_at:] + names[:start_at]:
            start = clock()
            contestants[name]()
            seconds[name].append(clock() - start)
    return Timings(seconds)
