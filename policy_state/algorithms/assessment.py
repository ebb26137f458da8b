"""What a policy makes of a domain's counters, for people and for the code that shows it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True)
class Assessment:
    """The exit that a domain has settled on, and why. Tuples have one entry per exit."""

    exit: int  # the best by what is known; scouts and probes may go elsewhere
    rewards: tuple[float | None, ...]  # estimated gain minus cost added, over `anchor`
    indices: tuple[float | None, ...]  # the most that the reward may be; None: not known
    screened: tuple[int, ...] = ()  # exits left out because they say the same of every text
    anchor: int = 0  # the exit that gains are counted from: 0, or the last where that says nothing


def known_values(values: Iterable[float], known: Iterable[bool]) -> tuple[float | None, ...]:
    """Return the values as plain numbers, None where not known or not finite."""
    return tuple(
        float(value) + 0.0 if seen and math.isfinite(value) else None  # -0.0 becomes 0.0
        for value, seen in zip(values, known, strict=True)
    )
