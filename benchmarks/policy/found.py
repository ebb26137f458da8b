"""What was measured of credits and the gate, domain by domain, and what was asked of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.policy.cases import Case
from benchmarks.policy.estimates import Estimate
from benchmarks.policy.gating import IN_FORCE, Gated
from benchmarks.report import Goal
from policy_state.simulation.replay import Fleet

FLEETS = {"1 x 1": Fleet(), "4 x 128": Fleet(4, 128)}
MOST_OVER = 1.1
"""What no domain's regret may be over that of UEE-UCB."""

_LEAST_REGRET = 1.0  # texts: a ratio to less would say nothing
_LEAST_AGREEMENT = 0.985
_TWELVE = 12

Play = tuple[str, str, float]  # algorithm, fleet, cost weight


@dataclass(frozen=True, slots=True)
class Found:
    """All that is measured of one domain of one model."""

    case: Case
    estimates: dict[str, Estimate]
    regrets: dict[Play, float]  # online
    gates: dict[str, Gated]  # by promise

    @property
    def model(self) -> str:
        """The name of its model."""
        return self.case.name.split(", ")[0]

    @property
    def domain(self) -> str:
        """The name of its domain."""
        return self.case.name.split(", ")[1]

    def over_uee_ucb(self, fleet: str, weight: float) -> float:
        """Return the regret with credits over that of UEE-UCB."""
        ours, theirs = (self.regrets[name, fleet, weight] for name in ("credits", "uee-ucb"))
        return ours / max(theirs, _LEAST_REGRET)


def goals_of(found: Sequence[Found]) -> list[Goal]:
    """Return what was asked of these domains, and what was reached."""

    def known(weight: float) -> float:
        rules = ("default with credits", "default without credits")
        return _ratio(*([one.estimates[rule].regret[weight] for one in found] for rule in rules))

    def online(fleet: str, weight: float) -> float:
        names = ("credits", "default")
        return _ratio(*([one.regrets[name, fleet, weight] for one in found] for name in names))

    errors = [
        float(np.mean([one.estimates[rule].error for one in found]))
        for rule in ("default with credits", "default without credits")
    ]
    gates = [each.gates[IN_FORCE] for each in found]
    twelve = [each.gates[IN_FORCE] for each in found if each.case.layers[-1] == _TWELVE] or gates
    over = "regret with credits over that without"
    return [
        Goal.at_most(f"{over}, cost weight 0.1, all texts known", 0.5, known(0.1)),
        *(
            Goal.at_most(f"{over}, cost weight 0.1, online {fleet}", 0.5, online(fleet, 0.1))
            for fleet in FLEETS
        ),
        Goal.at_most(f"{over}, cost weight 0.03, all texts known", 1, known(0.03)),
        Goal.at_most(f"{over}, cost weight 0.3, all texts known", 1, known(0.3)),
        Goal.at_most(f"{over}, cost weight 0.03, online 4 x 128", 1, online("4 x 128", 0.03)),
        Goal.at_most(f"{over}, cost weight 0.3, online 4 x 128", 1, online("4 x 128", 0.3)),
        *(
            Goal.at_most(
                f"regret with credits over that of UEE-UCB, cost weight 0.1, online {fleet}, worst "
                "domain",
                MOST_OVER,
                max(each.over_uee_ucb(fleet, 0.1) for each in found),
            )
            for fleet in FLEETS
        ),
        Goal.at_most("error of gain over that without credits", 0.4, errors[0] / errors[1]),
        Goal.at_least("gate: share of the layers saved", 0.3, saved(gates)),
        Goal.at_least(
            "gate: share of domains with an agreement of 98.5 % or more",
            0.9,
            float(np.mean([each.agreement >= _LEAST_AGREEMENT for each in gates])),
        ),
        Goal.at_most(
            "gate: points of accuracy lost to the domain's exit, mean",
            0.7,
            100 * Gated.mean(gates).lost,
        ),
        Goal.at_least(
            "policy with gate: times fewer layers than all twelve, models of twelve layers",
            2.8,
            1 / Gated.mean(twelve).layers,
        ),
        Goal.at_most(
            "policy with gate: points of accuracy lost to all layers, mean",
            1,
            100 * Gated.mean(gates).lost_to_last,
        ),
        Goal.at_most(
            "policy with gate: points of accuracy lost to all layers, worst domain",
            3,
            100 * max(each.lost_to_last for each in gates),
        ),
    ]


def _ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    return float(np.mean(ours)) / max(float(np.mean(theirs)), _LEAST_REGRET)


def saved(gates: Sequence[Gated]) -> float:
    """Return the share of the layers that the gate saves."""
    return 1 - sum(each.layers for each in gates) / sum(each.exit for each in gates)
