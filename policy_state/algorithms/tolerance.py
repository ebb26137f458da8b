"""The objective operators ask for: the cheapest exit with at most so much extra error."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np

from policy_state.algorithms.arrays import Assessment, Counters, known_values
from policy_state.algorithms.bounds import certain_rest, certainly_at_most, last_best
from policy_state.algorithms.costs import cost_vector
from policy_state.algorithms.exploring import ExploringAlgorithm
from policy_state.algorithms.settings import PolicySettings

if TYPE_CHECKING:
    from policy_state.algorithms.arrays import Bools
    from policy_state.algorithms.bounds import Exits, Floats
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

    By credits the extra error of exit j is what the steps behind it gain. That is less than the
    disagreement, so an exit is certain by whichever bound allows it first.

    >>> from policy_state.algorithms.base import build
    >>> from policy_state.algorithms.settings import PolicySettings
    >>> from policy_state.stats import ExitStats
    >>> algorithm = build(PolicySettings(tolerance=0.02), (1, 3, 7, 12))
    >>> alike = ExitStats.from_texts([(0, 1, 1, 1), (1, 1, 1, 1)] * 500, exits=4)
    >>> algorithm.decide(alike, 3).exits
    (1, 1, 1)
    """

    @cached_property
    def costs(self) -> tuple[float, ...]:
        """The cost of every exit at the usual weight: that of the settings has no say here."""
        return cost_vector(self.settings.cost, self.layers, weight=PolicySettings().cost_weight)

    @property
    def priced(self) -> bool:
        """Always false: the goal is an error."""
        return False

    def assess(
        self,
        stats: ExitStats,
        *,
        pool: ExitStats | None = None,  # noqa: ARG002 - nothing is taken on trust
    ) -> Assessment:
        """Return the exit chosen; rewards are minus the extra error over the last exit."""
        counters = Counters.of(stats)
        full = counters.observed[self.last]
        extra, _ = self._extra_error(counters)
        return Assessment(
            exit=int(self._chosen(counters)[0]),
            rewards=known_values(-extra, [full > 0] * len(self.layers)),
            indices=(None,) * len(self.layers),
            anchor=self.last,
        )

    def settled_exits(
        self,
        counters: Counters,
        *,
        pool: ExitStats | None = None,  # noqa: ARG002 - nothing is taken on trust
    ) -> Exits:
        """Return the exits that domains have settled on; see `Algorithm.settled_exits`."""
        return self._chosen(counters)[0]

    def learning(
        self,
        counters: Counters,
        *,
        pool: ExitStats | None = None,  # noqa: ARG002 - nothing is taken on trust
    ) -> Bools:
        """Return which domains send texts to the last exit to decide on a cheaper one."""
        learning: Bools = self._chosen(counters)[1] | (counters.observed[..., -1] == 0)
        return learning

    def screened(self, counters: Counters) -> Bools:
        """Return that no exit is left out."""
        return np.zeros(counters.observed.shape, dtype=np.bool_)

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
        settled, undecided = self._chosen(counters)
        return np.where(undecided, self.last, settled), settled

    def _chosen(self, counters: Counters) -> tuple[Exits, Bools]:
        """Return the exits chosen, and whether a cheaper one may turn out to be certain, (...)."""
        tolerance, costs = self.settings.tolerance or 0.0, np.array(self.costs)
        extra, certain = self._extra_error(counters)
        certain[..., -1] = True
        settled = last_best(np.where(certain, -costs, -np.inf))  # the deepest of the cheapest
        hopeful = (extra <= tolerance) & (costs < costs[settled][..., None])
        undecided = hopeful.any(axis=-1) & (counters.observed[..., -1] < _UNDECIDED / tolerance)
        return settled, undecided

    def _extra_error(self, counters: Counters) -> tuple[Floats, Bools]:
        """Return it by exit, and whether it is certainly within the tolerance, (..., exits)."""
        tolerance, full = self.settings.tolerance or 0.0, counters.observed[..., -1:]
        apart = counters.apart / np.maximum(full, 1)
        certain = certainly_at_most(tolerance, apart, full)
        if not self.credits:
            return apart, certain
        gained, squares = counters.steps(credits=True)
        rest, upper = certain_rest(np.maximum(counters.observed, 1), gained, squares)
        return np.minimum(rest, apart), certain | (upper <= tolerance)
