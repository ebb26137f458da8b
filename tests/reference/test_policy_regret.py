"""The default policy on the published exit matrices, against what UEE-UCB is known to lose."""

import json
from pathlib import Path

import pytest

from policy_state.algorithms.base import build
from policy_state.algorithms.costs import cost_vector
from policy_state.algorithms.settings import PolicySettings
from policy_state.simulation.matrix import read_matrix
from policy_state.simulation.outcomes import Scale, outcome
from policy_state.simulation.replay import Fleet, replay, shuffles

PLAYED = {
    (4, "layers"): ([0, 49963, 20, 17], [0, 49952, 32, 16]),
    (4, "split"): ([0, 0, 49978, 22], [0, 0, 49981, 19]),
    (6, "layers"): ([0, 49845, 129, 9, 3, 14], [0, 49904, 48, 32, 0, 16]),
    (6, "split"): ([0, 0, 0, 49980, 0, 20], [0, 0, 0, 49981, 0, 19]),
}
"""Texts of the first trial at each exit, alone and in a fleet, as before there were credits."""


@pytest.mark.parametrize("exits", [4, 6])
@pytest.mark.parametrize(("setting", "cost"), [("CS-1", "layers"), ("CS-2", "split")])
def test_regret_is_half_or_less(shared_dir: Path, exits: int, setting: str, cost: str) -> None:
    """After 50,000 texts at most half of UEE-UCB's; below 100 where that finds the wrong exit.

    16 workers with batches of 512 lose at most three times as much as one text at a time.
    """
    reference = json.loads((shared_dir / "reference" / "uee_ucb_imdb.json").read_text())
    published = reference[f"{exits}exits_{setting}"]
    labels, truth, *_ = read_matrix(
        shared_dir / f"data/exit_matrices/Exit_Predictions_TrainDevTest_IMDb_{exits}exits.csv"
    )
    layers = tuple(published["layers"])
    costs = cost_vector(cost, layers)
    policy = build(PolicySettings(cost=cost, cost_weight=1.0), layers)
    scale, orders = Scale(labels, truth, costs, layers), shuffles(len(labels), 2)
    played = replay(policy, labels, orders)
    alone = outcome(played, scale).regret["50000"].mean
    theirs = published["uee"]["regret"]["50000"][0]
    assert alone <= theirs / 2
    assert alone < 100
    fleet = replay(policy, labels, orders, fleet=Fleet(workers=16, batch=512))
    assert outcome(fleet, scale).regret["50000"].mean <= 3 * alone
    counts = [each.counts(exits)[0].tolist() for each in (played, fleet)]
    assert counts == list(PLAYED[exits, cost])
