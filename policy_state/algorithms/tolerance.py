"""The objective operators ask for: the cheapest exit with at most so much extra error."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np

from policy_state.algorithms.arrays import Assessment, Counters, known_values
from policy_state.algorithms.bounds import certainly_at_most, last_best
from policy_state.algorithms.costs import cost_vector
from policy_state.algorithms.exploring import ExploringAlgorithm
from policy_state.algorithms.settings import PolicySettings

if TYPE_CHECKING:
    from policy_state.algorithms.bounds import Exits
    from policy_state.stats import ExitStats

_UNDECIDED: Final = 30.0
"""Texts go to the last exit to decide on a cheaper one until 30 / tolerance texts did."""


@dataclass(frozen=True)
class ToleranceAlgorithm(ExploringAlgorithm):
    """Plays the cheapest exit whose extra error over the last one is surely within a tolerance.

    The extra error of exit j is at most P(y_j != y_K), whatever the labels are and whether or not
    Strong Dominance holds: it is P(j wrong, K right) - P(j right, K wrong). Texts that ran to the
    last exit tell it of all exits at once. Its upper bound holds at all times together, for 19 of
    20 domains. Until some exit is certain, all texts go to the last one.

    >>> from policy_state.algorithms.base import build
    >>> from policy_state.algorithms.settings import PolicySettings
    >>> from policy_state.stats import ExitStats
    >>> algorithm = build(PolicySettings(tolerance=0.02), (1, 3, 7, 12))
    >>> alike = ExitStats.from_texts([(0, 1, 1, 1), (1, 1, 1, 1)] * 500, exits=4)
    >>> algorithm.decide(alike, 3)
    (1, 1, 1)
    """

    @cached_property
    def costs(self) -> tuple[float, ...]:
        """The cost of every exit at the usual weight: that of the settings has no say here."""
        return cost_vector(self.settings.cost, self.layers, weight=PolicySettings().cost_weight)

    def assess(
        self,
        stats: ExitStats,
        *,
        pool: ExitStats | None = None,  # noqa: ARG002 - nothing is taken on trust
    ) -> Assessment:
        """Return the exit chosen; rewards are minus the extra error over the last exit."""
        counters = Counters.of(stats)
        full = counters.observed[self.last]
        return Assessment(
            exit=int(self._next(counters)[1]),
            rewards=known_values(-counters.apart / max(full, 1), [full > 0] * len(self.layers)),
            indices=(None,) * len(self.layers),
            anchor=self.last,
        )

    def _plays(
        self,
        counters: Counters,
        scouts: int,
        workers: int,  # noqa: ARG002 - a scout goes its way whatever others do
        pool: ExitStats | None,  # noqa: ARG002 - nothing is taken on trust
    ) -> tuple[list[int], int, Exits]:
        scout, settled = self._next(counters)
        return [int(scout)] * scouts, int(settled), settled

    def _next(self, counters: Counters) -> tuple[Exits, Exits]:
        """Return where scouts and where all others go, (...)."""
        tolerance, costs = self.settings.tolerance or 0.0, np.array(self.costs)
        full = counters.observed[..., -1:]
        share = counters.apart / np.maximum(full, 1)
        certain = certainly_at_most(tolerance, share, full)
        certain[..., -1] = True
        settled = last_best(np.where(certain, -costs, -np.inf))  # the deepest of the cheapest
        hopeful = (share <= tolerance) & (costs < costs[settled][..., None])
        undecided = hopeful.any(axis=-1) & (full[..., 0] < _UNDECIDED / tolerance)
        return np.where(undecided, self.last, settled), settled
