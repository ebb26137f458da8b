"""The settings of a policy: how exits are chosen from the counters."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from policy_state.errors import InvalidInput

ALGORITHMS: Final = ("default", "uee-ucb")
HOLDOUT_MAX: Final = 0.5
GATE_MIN: Final = 0.5
GATE_MAX: Final = 0.9999


@dataclass(frozen=True, slots=True)
class PolicySettings:
    """How exits are chosen from the counters. The counters themselves do not depend on it.

    Everything from `scouts` on is for the default only.
    """

    algorithm: str = "default"  # or "uee-ucb", exactly as published
    cost: str | tuple[float, ...] = "layers"  # see `costs.cost_vector`
    cost_weight: float = 0.1  # how much cost counts against disagreement; the paper has 1
    alpha: float = 1.0  # width of the exploration bonus; the paper's code has 1
    holdout: float = 0.01  # share of texts run to the last exit to measure, by whatever algorithm
    gate: float = 0.0  # share of texts that keep their label though sure ones stop sooner; 0: off
    scouts: float = 12.0  # explorers per round of all workers, over the span of costs; 0: all texts
    drift: float = 14.0  # evidence (nats) of change that starts a domain afresh; 0: never
    tolerance: float | None = None  # cheapest exit with at most so much extra error, certified

    def __post_init__(self) -> None:
        """Refuse what no exit can be chosen with."""
        if self.algorithm not in ALGORITHMS:
            raise InvalidInput(
                f"algorithm {self.algorithm!r} is unknown, expected {' or '.join(ALGORITHMS)}"
            )
        for name in ("alpha", "scouts", "drift"):
            value = getattr(self, name)
            if not (isinstance(value, int | float) and math.isfinite(value) and value >= 0):
                raise InvalidInput(f"{name} {value}, expected a finite number of 0 or more")
        if not 0 <= self.holdout <= HOLDOUT_MAX:
            raise InvalidInput(f"holdout {self.holdout}, expected a share of 0 to {HOLDOUT_MAX}")
        check_gate(self.gate)
        if self.tolerance is not None and not 0 < self.tolerance < 1:
            raise InvalidInput(f"tolerance {self.tolerance}, expected a share above 0, below 1")


def check_gate(promise: float) -> float:
    """Return the share that a gate promises, if it can be one.

    Raises:
        InvalidInput: it is neither 0, for no gate, nor a share of most texts.
    """
    if promise != 0 and not GATE_MIN <= promise <= GATE_MAX:  # NaN, too
        raise InvalidInput(f"gate {promise}, expected 0 or a share of {GATE_MIN} to {GATE_MAX}")
    return promise
