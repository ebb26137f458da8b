"""Shares of texts with their 95 % intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from policy_state.stats import Z_95

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Share:
    """A share with its 95 % interval."""

    share: float
    low: float
    high: float
    texts: int  # that it was taken over

    @classmethod
    def of(cls, hits: float, texts: int) -> Share | None:
        """Return the share of `hits` with Wilson's interval; None of no texts.

        Also of a sum of values from 0 to 1: no such values spread as much as hits do, so the
        interval is then too wide rather than too narrow.

        >>> found = Share.of(5, 20)
        >>> round(found.low, 3), found.share, round(found.high, 3)
        (0.112, 0.25, 0.469)
        """
        if texts < 1:
            return None
        share, square = min(hits, texts) / texts, Z_95**2
        middle = (share + square / (2 * texts)) / (1 + square / texts)
        half = math.sqrt(share * (1 - share) / texts + square / (4 * texts**2))
        half *= Z_95 / (1 + square / texts)
        # At the ends rounding could leave the share just outside.
        low, high = min(share, middle - half), max(share, middle + half)
        return cls(share, max(0.0, low), min(1.0, high), texts)

    @classmethod
    def mean(cls, levels: Sequence[float], counts: Sequence[int]) -> Share | None:
        """Return the mean of texts that each have one of some values; None of no texts.

        The interval is Agresti and Coull's, for more than two values: the normal one after four
        texts more, half of them at the lowest value and half at the highest.

        >>> found = Share.mean((0.9, 0.6, 0.0), (10, 30, 10))
        >>> round(found.low, 3), found.share, round(found.high, 3)
        (0.451, 0.54, 0.616)
        """
        texts = sum(counts)
        if not texts:
            return None
        ends, half = (min(levels), max(levels)), Z_95**2 / 2
        many = texts + 2 * half

        def mean(power: int) -> float:
            pairs = zip(levels, counts, strict=True)
            seen = sum(count * level**power for level, count in pairs)
            return (seen + half * sum(end**power for end in ends)) / many

        middle = mean(1)
        spread = Z_95 * math.sqrt(max(0.0, mean(2) - middle**2) / many)
        share = sum(n * level for level, n in zip(levels, counts, strict=True)) / texts
        low, high = min(share, middle - spread), max(share, middle + spread)
        return cls(share, max(ends[0], low), min(ends[1], high), texts)

    @property
    def within(self) -> float:
        """How far the ends of the interval are from the share, at most."""
        return max(self.high - self.share, self.share - self.low)
