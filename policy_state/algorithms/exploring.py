"""How a few texts explore for all: scouts and probes, worked into micro-batches."""

from __future__ import annotations

import math
import random
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np

from policy_state.algorithms.arrays import Chosen, Counters
from policy_state.algorithms.costs import cost_vector

if TYPE_CHECKING:
    from collections.abc import Sequence

    from policy_state.algorithms.bounds import Exits, Floats
    from policy_state.algorithms.settings import PolicySettings
    from policy_state.stats import ExitStats

PROBE_COST: Final = 0.0002
"""Reward per text that is given up for texts that run to the last exit."""


@dataclass(frozen=True)
class ExploringAlgorithm(ABC):
    """Sends some events of a micro-batch to explore, the others where their domain has settled."""

    settings: PolicySettings
    layers: tuple[int, ...]
    credits: bool = False  # whether steps are counted by what they are worth

    @property
    def name(self) -> str:
        """Always `default`."""
        return "default"

    @property
    def priced(self) -> bool:
        """Always true, unless a goal is given in error instead of cost."""
        return True

    @property
    def drift(self) -> float:
        """The evidence that starts a domain afresh; 0: it never is."""
        return self.settings.drift

    @cached_property
    def costs(self) -> tuple[float, ...]:
        """The cost of every exit, weighted."""
        return cost_vector(self.settings.cost, self.layers, weight=self.settings.cost_weight)

    @property
    def last(self) -> int:
        """The deepest exit."""
        return len(self.layers) - 1

    @cached_property
    def probe_share(self) -> Floats:
        """For every exit the share of texts that run through the model while it leads."""
        return probe_shares(self.costs, PROBE_COST)

    def decide(
        self,
        stats: ExitStats,
        count: int,
        *,
        rng: random.Random | None = None,
        workers: int = 1,
        pool: ExitStats | None = None,
    ) -> Chosen:
        """Return an exit for each of the `count` events; see `Algorithm.decide`."""
        draw = (rng or random.Random(stats.texts)).random()
        counters = Counters.of(stats)
        in_all = scouts_in_all(self.costs, self.settings.scouts)
        scouts = max(1, int(min(count, in_all / workers)))
        plays, settled, leader = self._plays(counters, scouts, workers, pool)
        due = float(self._probes_due(counters, count * workers, leader)) / workers
        probes = math.floor(due - plays.count(self.last) + draw)
        return Chosen(spread(with_probes(plays, probes, self.last), settled, count), settled)

    def decide_one_each(self, counters: Counters, draws: Floats) -> Exits:
        """Return the exit of the next text of every domain: what `decide` returns for one event.

        Args:
            counters: Of the domains, (domains, exits).
            draws: What each domain's generator gives next, (domains,).
        """
        scout, leader = self._next(counters)
        due = self._probes_due(counters, 1, leader) - (scout == self.last)
        return np.where(due + draws >= 1, self.last, scout)

    @abstractmethod
    def _plays(
        self, counters: Counters, scouts: int, workers: int, pool: ExitStats | None
    ) -> tuple[list[int], int, Exits]:
        """Return where so many scouts go, where all others go, and the exit that leads."""

    @abstractmethod
    def _next(self, counters: Counters) -> tuple[Exits, Exits]:
        """Return where a single scout goes, and the exit that leads, each (...)."""

    def _probes_due(self, counters: Counters, more: int, leader: Exits) -> Floats:
        """Return how many texts to the last exit are missing after `more` texts."""
        share = self.probe_share[leader]
        due: Floats = share * (counters.observed[..., 0] + more) - counters.observed[..., -1]
        return due


def spread(plays: Sequence[int], settled: int, count: int) -> tuple[int, ...]:
    """Return `count` exits: the plays, evenly spread, among events that are settled.

    >>> spread((3, 2), 0, 6)
    (3, 0, 0, 2, 0, 0)
    """
    exits = [settled] * count
    for i, play in enumerate(plays[:count]):
        exits[i * count // len(plays)] = play
    return tuple(exits)


def with_probes(plays: Sequence[int], probes: int, last: int) -> list[int]:
    """Return the plays with so many of them, the latter ones, going to the last exit instead."""
    kept = len(plays) - min(max(0, probes), len(plays))
    return [*plays[:kept], *[last] * (len(plays) - kept)]


def probe_shares(costs: Sequence[float], probe_cost: float) -> Floats:
    """Return, for every exit, the share of texts that go full depth while it leads.

    As many as cost `probe_cost` of reward per text: more where they are cheap.
    """
    saved = costs[-1] - np.array(costs)
    shares: Floats = np.divide(probe_cost, saved, out=np.zeros_like(saved), where=saved > 0)
    return shares.clip(max=1)


def scouts_in_all(costs: Sequence[float], scouts: float) -> float:
    """Return the scouts per round of all workers: as many more as the deepest exit costs less.

    >>> scouts_in_all((0.0, 0.05, 0.1), 12)
    120.0
    """
    span = costs[-1] - costs[0]
    return scouts / span if scouts and span > 0 else math.inf
