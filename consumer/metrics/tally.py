"""Counts and distributions that add up: those of several batches, and of several processes."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from consumer.metrics.catalogue import Key, Metric


@dataclass(slots=True)
class Spread:
    """How values are spread: how many lie in each bucket, and their sum."""

    counts: list[int]  # the last one is of values beyond all buckets
    total: float = 0.0

    def add(self, other: Spread) -> None:
        """Add another one with the same buckets."""
        self.counts = [mine + more for mine, more in zip(self.counts, other.counts, strict=True)]
        self.total += other.total


@dataclass(slots=True)
class Tally:
    """What was counted and observed, by metric and labels."""

    sums: dict[Key, float] = field(default_factory=dict)
    spreads: dict[Key, Spread] = field(default_factory=dict)

    def add(self, metric: Metric, amount: float = 1, *labels: str) -> None:
        """Add to a counter.

        >>> from consumer.metrics.catalogue import RECORDS
        >>> tally = Tally()
        >>> tally.add(RECORDS, 2, "predicted")
        >>> tally.add(RECORDS, 3, "predicted")
        >>> tally.sums
        {('offramp_records_total', ('predicted',)): 5}
        """
        if amount:
            key = (metric.name, labels)
            self.sums[key] = self.sums.get(key, 0) + amount

    def observe(self, metric: Metric, value: float, *labels: str, times: int = 1) -> None:
        """Add one value, some times, to a histogram."""
        counts = [0] * (len(metric.buckets) + 1)
        counts[bisect_left(metric.buckets, value)] = times
        self._spread((metric.name, labels), Spread(counts, value * times))

    def observe_all(self, metric: Metric, ordered: Sequence[float]) -> None:
        """Add values in ascending order to a histogram without labels."""
        below = [0, *(bisect_right(ordered, bound) for bound in metric.buckets), len(ordered)]
        counts = [upto - before for before, upto in pairwise(below)]
        self._spread((metric.name, ()), Spread(counts, sum(ordered)))

    def merge(self, other: Tally) -> None:
        """Add all that another one has."""
        for key, amount in other.sums.items():
            self.sums[key] = self.sums.get(key, 0) + amount
        for key, spread in other.spreads.items():
            self._spread(key, spread)

    def copy(self) -> Tally:
        """Return a tally that later changes of this one do not reach."""
        copied = Tally()
        copied.merge(self)
        return copied

    def _spread(self, key: Key, spread: Spread) -> None:
        if key in self.spreads:
            self.spreads[key].add(spread)
        else:
            self.spreads[key] = Spread(list(spread.counts), spread.total)
