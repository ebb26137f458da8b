"""`benchmarks.policy.labelled`: what labels are worth, on small made-up domains."""

import numpy as np

from benchmarks.policy.cases import Case
from benchmarks.policy.labelled import CREDITED, LABELLED, measure
from policy_state.labelled import CREDITED_DUELS
from policy_state.simulation.synthetic import SyntheticDomain


def overstated(name: str) -> Case:
    """Return a domain whose exits are all alike right, with credits that say otherwise."""
    labels, truth = SyntheticDomain((0.2,) * 4, violations=1.0).texts(
        1200, np.random.default_rng(0)
    )
    differs = np.diff(labels, axis=1, prepend=labels[:, :1]) != 0
    credits = np.where(differs, 600, 0).astype(np.int16)
    return Case(name, "m", labels, truth, (1, 3, 7, 12), credits=credits)


def test_labels_take_away_what_credits_overstate() -> None:
    """With no label the regret is that of the credits; it falls with the number of labels."""
    report = measure([overstated("m, a"), overstated("m, b")], 2)
    regrets, by_credited = report.tables
    assert [row[:3] for row in regrets.rows] == [
        (weight, model, 2) for weight in (0.03, 0.1, 0.3) for model in ("m", "all")
    ]
    means = {row[:2]: row[2:] for row in by_credited.rows}
    assert len(means) == 3 * len(CREDITED)
    assert all(0 < row[0] >= row[-1] for row in means.values())
    ours = means[0.3, CREDITED_DUELS]
    assert list(ours) == sorted(ours, reverse=True)
    assert ours[0] > 2000
    assert ours[-1] == 0
    assert len(report.goals) == 3 * (len(LABELLED) - 1)
