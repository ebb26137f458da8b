"""Algorithms by name, and counters that they have learnt."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.policy.ablations import ABLATIONS
from policy_state.algorithms.base import Algorithm, build
from policy_state.algorithms.settings import PolicySettings
from policy_state.simulation.synthetic import SyntheticDomain
from policy_state.stats import ExitStats

OPTIONS: dict[str, Mapping[str, Any]] = {
    "alpha=0": {"alpha": 0.0},
    "cost_weight=0": {"cost_weight": 0.0},
    "cost_weight=1": {"cost_weight": 1.0},
    "split": {"cost": "split", "cost_weight": 1.0},
    "tolerance": {"tolerance": 0.05},
    "credits": {},
    "credits, tolerance": {"tolerance": 0.05},
}
LAYERS = {1: (12,), 2: (6, 12), 4: (1, 3, 7, 12), 12: tuple(range(1, 13))}


def make(name: str, exits: int = 4, **options: Any) -> Algorithm:
    """Return a new algorithm of that name for so many exits."""
    settings = PolicySettings(**{**OPTIONS.get(name, {}), **options})
    if name.startswith("credits"):
        return build(settings, LAYERS[exits], credits=True)
    return ABLATIONS.get(name, build)(settings, LAYERS[exits])


def learnt(exits: int, texts: int, seed: int = 0, **domain: Any) -> ExitStats:
    """Return counters of texts that stopped anywhere, of a domain whose errors fall with depth."""
    rng = np.random.default_rng(seed)
    errors = tuple(0.3 * 0.6 ** np.arange(exits))
    labels, truth = SyntheticDomain(errors, violations=0.2, **domain).texts(texts, rng)
    credits = SyntheticDomain.credits(labels, truth)
    depth = rng.integers(exits, size=texts)
    labels[np.arange(exits) > depth[:, None]] = -1
    return ExitStats.from_matrix(labels, credits=credits)
