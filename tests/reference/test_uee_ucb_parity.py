"""UEE-UCB against the published exit matrices: every trial's plays, exactly."""

import json
from pathlib import Path

import pytest

from policy_state.algorithms.costs import cost_vector
from policy_state.algorithms.uee_ucb import UeeUcb
from policy_state.simulation.matrix import read_matrix
from policy_state.simulation.outcomes import Scale, outcome
from policy_state.simulation.replay import replay, shuffles


@pytest.mark.parametrize("exits", [4, 6])
@pytest.mark.parametrize(("setting", "cost"), [("CS-1", "layers"), ("CS-2", "split")])
def test_all_trials_play_as_published(
    shared_dir: Path, exits: int, setting: str, cost: str
) -> None:
    """All 20 trials over 50,000 reviews stop as often at every exit as the reference says."""
    reference = json.loads((shared_dir / "reference" / "uee_ucb_imdb.json").read_text())
    expected = reference[f"{exits}exits_{setting}"]
    labels, truth, *_ = read_matrix(
        shared_dir / f"data/exit_matrices/Exit_Predictions_TrainDevTest_IMDb_{exits}exits.csv"
    )
    costs = cost_vector(cost, expected["layers"])
    orders = shuffles(len(labels), 20)
    played = replay(UeeUcb(costs), labels, orders)
    found = outcome(played, Scale(labels, truth, costs, tuple(expected["layers"])))

    published = [
        [trial.get(str(exit_ + 1), 0) for exit_ in range(exits)]
        for trial in expected["uee"]["counts_trials"]
    ]
    assert labels.shape == (50_000, exits)
    assert [list(trial) for trial in found.counts] == published
    assert found.accuracy == pytest.approx(expected["uee"]["acc"], abs=1e-12)
    assert found.cost == pytest.approx(expected["uee"]["cost"], abs=1e-12)
    for texts in ("1000", "10000", "50000"):
        regret = expected["uee"]["regret"][texts]
        assert found.regret[texts].mean == pytest.approx(regret[0], abs=1e-6)
