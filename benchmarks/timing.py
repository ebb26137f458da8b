"""Paired timing: every round runs every contestant once, and ratios are taken within rounds."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass


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


def paired(contestants: Mapping[str, Callable[[], object]], *, rounds: int) -> Timings:
    """Time contestants side by side; each runs once before, so that kernels are built."""
    for run in contestants.values():
        run()
    names = list(contestants)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        start_at = number % len(names)
        for name in names[start_at:] + names[:start_at]:
            start = time.perf_counter()
            contestants[name]()
            seconds[name].append(time.perf_counter() - start)
    return Timings(seconds)
