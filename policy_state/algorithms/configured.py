"""What all forms of the default policy have: settings, layers, and what follows from them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from policy_state.algorithms.costs import cost_vector
from policy_state.algorithms.plays import probe_shares, scouts_in_all

if TYPE_CHECKING:
    from policy_state.algorithms.bounds import Floats
    from policy_state.algorithms.settings import PolicySettings


@dataclass(frozen=True)
class Configured:
    """A policy with its settings, for a model with exits after `layers`."""

    settings: PolicySettings
    layers: tuple[int, ...]

    @property
    def name(self) -> str:
        """Always `default`."""
        return "default"

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
    def scouts_in_all(self) -> float:
        """How many texts explore in a round of all workers."""
        return scouts_in_all(self.costs, self.settings.scouts)

    @cached_property
    def probe_share(self) -> Floats:
        """For every exit the share of texts that run through the model while it leads."""
        return probe_shares(self.costs, self.settings.probe_cost)
