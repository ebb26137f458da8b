"""Algorithms: from the counters of a domain to an exit for every event of a micro-batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from policy_state.algorithms.costs import cost_vector
from policy_state.algorithms.default import DefaultAlgorithm
from policy_state.algorithms.tolerance import ToleranceAlgorithm
from policy_state.algorithms.uee_ucb import UeeUcb

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from policy_state.algorithms.arrays import Assessment, Bools, Chosen, Counters
    from policy_state.algorithms.bounds import Exits
    from policy_state.algorithms.settings import PolicySettings
    from policy_state.stats import ExitStats


class Algorithm(Protocol):
    """Chooses exits. Pure: the same counters and the same generator give the same exits."""

    @property
    def name(self) -> str:
        """The name in `PolicySettings.algorithm`."""
        ...

    @property
    def costs(self) -> tuple[float, ...]:
        """The cost of every exit, weighted."""
        ...

    @property
    def credits(self) -> bool:
        """Whether it counts steps by what they are worth, and not every disagreement alike."""
        ...

    @property
    def priced(self) -> bool:
        """Whether depth is weighed against its cost, so that exits have indices."""
        ...

    @property
    def drift(self) -> float:
        """The evidence that starts a domain afresh, see `drift.DriftWatch`; 0: it never is."""
        ...

    def decide(
        self,
        stats: ExitStats,
        count: int,
        *,
        rng: random.Random | None = None,
        workers: int = 1,
        pool: ExitStats | None = None,
    ) -> Chosen:
        """Return an exit for each of the `count` events that a micro-batch has of one domain.

        Args:
            stats: The domain's counters, as fresh as the worker has them.
            count: How many events to decide on.
            rng: Spreads rare plays over workers and batches; one number is drawn per call. None:
                one that starts from the counters.
            workers: How many workers decide on about the same counters at the same time.
            pool: The counters of all domains together, for what to think of a new one.
        """
        ...

    def assess(self, stats: ExitStats, *, pool: ExitStats | None = None) -> Assessment:
        """Return what the domain has settled on, and why."""
        ...

    def settled_exits(self, counters: Counters, *, pool: ExitStats | None = None) -> Exits:
        """Return the exits that domains have settled on: those of `assess`, of many at once."""
        ...

    def learning(self, counters: Counters, *, pool: ExitStats | None = None) -> Bools:
        """Return which of many domains still need texts to tell which exit is the best."""
        ...

    def screened(self, counters: Counters) -> Bools:
        """Return which exits of many domains are left out, as those of `assess`."""
        ...


def build(
    settings: PolicySettings,
    layers: Sequence[int],
    *,
    credits: bool = False,
) -> Algorithm:
    """Return the algorithm that `settings` describe, for a model with exits after `layers`.

    Args:
        settings: Of the policy.
        layers: One per exit.
        credits: Whether the model is calibrated, so that its counters hold credits.
    """
    costs = cost_vector(settings.cost, layers, weight=settings.cost_weight)
    if settings.algorithm == "uee-ucb":
        return UeeUcb(costs=costs, alpha=settings.alpha)
    if settings.tolerance is not None:
        return ToleranceAlgorithm(settings, tuple(layers), credits)
    return DefaultAlgorithm(settings, tuple(layers), credits)
