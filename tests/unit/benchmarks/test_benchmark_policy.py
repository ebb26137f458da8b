"""`benchmarks.policy.duels`: the default against UEE-UCB, on small made-up domains."""

import numpy as np
import pytest

from benchmarks.policy.cases import Case
from benchmarks.policy.duels import duel, worst_part
from benchmarks.report import Report
from policy_state.simulation.replay import Fleet
from policy_state.simulation.synthetic import SyntheticDomain


def case(name: str, *errors: float) -> Case:
    """Return a domain of 300 texts."""
    labels, truth = SyntheticDomain(errors).texts(300, np.random.default_rng(0))
    return Case(name, "", labels, truth, (1, 3, 7, 12))


def test_the_worst_of_each_group_is_a_goal_and_is_played_more_often() -> None:
    """A goal a group; of each group the worst three, with more trials and an interval."""
    cases = [case(f"{i}", 0.1 * i, 0.1, 0.1, 0.1) for i in range(1, 6)]
    duels = [duel("alone", each, 2) for each in cases]
    duels.append(duel("fleet", cases[0], 2, Fleet(2, 32)))
    report = Report("policy")
    worst_part(report, duels, 4)
    assert [goal.name for goal in report.goals] == [
        "regret over that of UEE-UCB, alone, worst",
        "regret over that of UEE-UCB, fleet, worst",
    ]
    assert all(goal.reached is not None for goal in report.goals)
    (table,) = report.tables
    assert [(row[0], row[2], row[3]) for row in table.rows] == [
        *[("alone", "1 x 1", 4)] * 3,
        ("fleet", "2 x 32", 4),
    ]
    worst = sorted(duels[:5], key=lambda each: -each.ratio)[:3]
    assert {row[1] for row in table.rows[:3]} == {each.case.name for each in worst}


def test_a_ratio_has_the_interval_of_its_trials() -> None:
    """It holds the ratio, and is about half as wide with four times the trials."""
    few, many = (duel("", case("d", 0.3, 0.12, 0.1, 0.09), trials) for trials in (8, 32))
    for found in (few, many):
        means = found.ours.regrets.mean(), found.theirs.regrets.mean()
        assert found.ratio == pytest.approx(means[0] / means[1])
        assert found.interval[0] < found.ratio < found.interval[1]
    widths = [found.interval[1] - found.interval[0] for found in (few, many)]
    assert 0.25 < widths[1] / widths[0] < 1
