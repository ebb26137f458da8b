"""Counts and distributions that add up: those of several batches, and of several processes."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from consumer.metrics.catalogue import Key, Metric


@dataclass(slots=True)
class Spread:
    """How values are spread: how many lie in which bucket, and their sum.

    The bucket behind the last one is of values beyond all bounds. Empty buckets are left out.
    """

    counts: dict[int, int] = field(default_factory=dict)
    total: float = 0.0

    def add(self, counts: Mapping[int, int], total: float) -> None:
        """Add the values of another one with the same buckets."""
        for bucket, count in counts.items():
            self.counts[bucket] = self.counts.get(bucket, 0) + count
        self.total += total


@dataclass(slots=True)
class Tally:
    """What was counted and observed, by metric and labels."""

    sums: dict[Key, float] = field(default_factory=dict)
    spreads: dict[Key, Spread] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Whether there is anything in it."""
        return bool(self.sums or self.spreads)

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
        spread, bucket = self.spread((metric.name, labels)), bisect_left(metric.buckets, value)
        spread.counts[bucket] = spread.counts.get(bucket, 0) + times
        spread.total += value * times

    def spread(self, key: Key) -> Spread:
        """Return a histogram, to be added to."""
        found = self.spreads.get(key)
        if found is None:
            found = self.spreads[key] = Spread()
        return found

    def merge(self, other: Tally) -> None:
        """Add all that another one has."""
        for key, amount in other.sums.items():
            self.sums[key] = self.sums.get(key, 0) + amount
        for key, spread in other.spreads.items():
            self.spread(key).add(spread.counts, spread.total)

    def copy(self) -> Tally:
        """Return a tally that later changes of this one do not reach."""
        copied = Tally()
        copied.merge(self)
        return copied
