"""Policies: from the counters of a domain to an exit for every event of a micro-batch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from policy_state import uee_ucb
from policy_state.costs import cost_vector
from policy_state.errors import InvalidSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from policy_state.stats import ExitStats


@dataclass(frozen=True, slots=True)
class PolicySettings:
    """How exits are chosen from the counters. The counters themselves do not depend on it."""

    policy: str = "uee-ucb"
    cost: str | tuple[float, ...] = "layers"  # see `costs.cost_vector`
    cost_weight: float = 0.1  # how much cost counts against disagreement; the paper has 1
    alpha: float = 1.0  # width of the exploration bonus; the paper's code has 1

    def __post_init__(self) -> None:
        """Refuse an alpha that no index can be computed with."""
        if not (math.isfinite(self.alpha) and self.alpha >= 0):
            raise InvalidSettings(f"alpha {self.alpha}, expected a finite number of 0 or more")


class Policy(Protocol):
    """Chooses exits. Pure: the same counters give the same exits."""

    @property
    def name(self) -> str:
        """The name in `PolicySettings.policy`."""
        ...

    def decide(self, stats: ExitStats, count: int) -> tuple[int, ...]:
        """Return an exit for each of the `count` events that a micro-batch has of one domain."""
        ...


@dataclass(frozen=True, slots=True)
class UeeUcb:
    """The published policy, every event of a micro-batch playing the same index.

    The counters are those of before the batch, so the batch is one long play of one exit.

    >>> from policy_state.stats import ExitStats
    >>> UeeUcb(costs=(0.1, 0.5, 1.0)).decide(ExitStats.zeros(3), 4)
    (2, 2, 2, 2)
    """

    costs: tuple[float, ...]
    alpha: float = 1.0

    @property
    def name(self) -> str:
        """Always `uee-ucb`."""
        return "uee-ucb"

    def decide(self, stats: ExitStats, count: int) -> tuple[int, ...]:
        """Return `count` times the exit with the highest index."""
        return (uee_ucb.choose_exit(stats, self.costs, alpha=self.alpha),) * count


def build(settings: PolicySettings, layers: Sequence[int]) -> Policy:
    """Return the policy that `settings` describe, for a model with exits after `layers`."""
    if settings.policy != "uee-ucb":
        raise InvalidSettings(f"policy {settings.policy!r} is unknown, expected uee-ucb")
    costs = cost_vector(settings.cost, layers, weight=settings.cost_weight)
    return UeeUcb(costs=costs, alpha=settings.alpha)
