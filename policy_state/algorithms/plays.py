"""How rare plays are worked into a micro-batch."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def spread(plays: Sequence[int], settled: int, count: int) -> tuple[int, ...]:
    """Return `count` exits: the plays, evenly spread, among events that are settled.

    >>> spread((3, 2), 0, 6)
    (3, 0, 0, 2, 0, 0)
    """
    exits = [settled] * count
    for i, play in enumerate(plays):
        exits[i * count // len(plays)] = play
    return tuple(exits)


def with_probes(plays: Sequence[int], probes: int, last: int) -> list[int]:
    """Return the plays with so many of them, the latter ones, going to the last exit instead."""
    kept = len(plays) - min(max(0, probes), len(plays))
    return [*plays[:kept], *[last] * (len(plays) - kept)]


def probe_shares(costs: Sequence[float], probe_cost: float) -> NDArray[np.float64]:
    """Return, for every exit, the share of texts that go full depth while it leads.

    As many as cost `probe_cost` of reward per text: more where they are cheap.
    """
    saved = costs[-1] - np.array(costs)
    shares: NDArray[np.float64] = np.divide(
        probe_cost, saved, out=np.zeros_like(saved), where=saved > 0
    )
    return shares.clip(max=1)


def scouts_in_all(costs: Sequence[float], scouts: float) -> float:
    """Return the scouts per round of all workers: as many more as the deepest exit costs less.

    >>> scouts_in_all((0.0, 0.05, 0.1), 12)
    120.0
    """
    span = costs[-1] - costs[0]
    return scouts / span if scouts and span > 0 else math.inf
