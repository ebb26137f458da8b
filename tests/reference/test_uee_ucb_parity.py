"""UEE-UCB against the published exit matrices: every trial's plays, exactly."""

import json
from pathlib import Path

import numpy as np
import pytest

from policy_state.costs import cost_vector
from policy_state.replay import read_matrix, replay_uee_ucb


@pytest.mark.parametrize("exits", [4, 6])
@pytest.mark.parametrize(("setting", "cost"), [("CS-1", "layers"), ("CS-2", "split")])
def test_all_trials_play_as_published(
    shared_dir: Path, exits: int, setting: str, cost: str
) -> None:
    """All 20 trials over 50,000 reviews stop as often at every exit as the reference says."""
    reference = json.loads((shared_dir / "reference" / "uee_ucb_imdb.json").read_text())
    expected = reference[f"{exits}exits_{setting}"]
    labels, truth = read_matrix(
        shared_dir / f"data/exit_matrices/Exit_Predictions_TrainDevTest_IMDb_{exits}exits.csv"
    )
    costs = cost_vector(cost, expected["layers"])
    replay = replay_uee_ucb(labels, costs, truth=truth)

    published = [
        [trial.get(str(exit_ + 1), 0) for exit_ in range(exits)]
        for trial in expected["uee"]["counts_trials"]
    ]
    assert labels.shape == (50_000, exits)
    assert replay.counts.tolist() == published
    assert replay.accuracy is not None
    assert replay.accuracy.mean() == pytest.approx(expected["uee"]["acc"], abs=1e-12)
    mean_cost = (replay.counts @ np.array(costs)).mean() / len(labels)
    assert mean_cost == pytest.approx(expected["uee"]["cost"], abs=1e-12)
