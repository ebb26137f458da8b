"""UEE-UCB's choice, its batches, and its replay against a plain sequential loop."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policy_state.algorithms.base import build
from policy_state.algorithms.settings import PolicySettings
from policy_state.algorithms.uee_ucb import UeeUcb, best_exit, choose_exit, indices
from policy_state.errors import InvalidInput
from policy_state.simulation.replay import shuffles, uee_ucb_one_by_one
from policy_state.stats import ExitStats

COSTS = (0.1, 0.3, 0.6, 1.0)


@st.composite
def seen_stats(draw: st.DrawFn) -> ExitStats:
    """Counters of a domain that has observed every exit."""
    played = draw(st.tuples(*[st.integers(0, 500)] * 3, st.integers(1, 500)))
    observed = tuple(sum(played[j:]) for j in range(4))
    disagreed = tuple(draw(st.integers(0, n)) if j else 0 for j, n in enumerate(observed))
    return ExitStats(observed, disagreed, played)


def test_an_unseen_domain_goes_to_the_last_exit() -> None:
    """With nothing observed the text goes all the way, so that every exit is observed."""
    assert choose_exit(ExitStats.zeros(4), COSTS) == 3
    assert best_exit(ExitStats.zeros(4), COSTS) == 3
    assert indices(ExitStats.zeros(4), COSTS) == (math.inf,) * 4


def test_a_partly_seen_domain_goes_to_the_last_exit() -> None:
    """While one exit was never observed no shallower one is chosen over it."""
    stats = ExitStats(observed=(5, 5, 0, 0), disagreed=(0, 5, 0, 0), played=(0, 5, 0, 0))
    assert choose_exit(stats, COSTS) == best_exit(stats, COSTS) == 3


def test_index_by_hand() -> None:
    """The index is d/n + c[0] - c[j] + sqrt(alpha ln(t + 1) / n), t being the texts seen."""
    stats = ExitStats(observed=(10, 8, 5, 3), disagreed=(0, 4, 3, 2), played=(2, 3, 2, 3))
    expected = [
        d / n + 0.1 - c + math.sqrt(2 * math.log(11) / n)
        for n, d, c in zip(stats.observed, stats.disagreed, COSTS, strict=True)
    ]
    assert indices(stats, COSTS, alpha=2) == pytest.approx(expected, rel=1e-15)


def test_the_first_of_equals_wins() -> None:
    """Equal indices go to the shallowest of them."""
    stats = ExitStats(observed=(3, 3, 3, 3), disagreed=(0, 0, 0, 0), played=(0, 0, 0, 3))
    assert choose_exit(stats, (0.5, 0.5, 0.5, 0.5)) == 0
    assert best_exit(stats, (0.5, 0.2, 0.2, 0.5)) == 1


@given(stats=seen_stats())
def test_without_bonus_the_choice_is_the_best_mean(stats: ExitStats) -> None:
    """With alpha 0 nothing is explored: the choice is the best mean reward."""
    assert choose_exit(stats, COSTS, alpha=0) == best_exit(stats, COSTS)


@given(stats=seen_stats())
def test_the_bonus_favours_what_was_seen_less(stats: ExitStats) -> None:
    """No exit's bonus is smaller than a shallower one's, which was observed at least as often."""
    plain = indices(stats, COSTS, alpha=0)
    bonus = [a - b for a, b in zip(indices(stats, COSTS), plain, strict=True)]
    assert bonus == pytest.approx(sorted(bonus), abs=1e-12)


def test_costs_must_fit_the_counters() -> None:
    """A vector for other exits is refused, with both numbers."""
    with pytest.raises(InvalidInput, match="3 costs for counters of 4 exits"):
        choose_exit(ExitStats((1,) * 4, (0,) * 4, (0, 0, 0, 1)), COSTS[:3])


def test_all_events_of_a_batch_play_the_index() -> None:
    """The first policy sends every event of a micro-batch to the exit of the highest index."""
    policy = build(PolicySettings("uee-ucb", cost=COSTS, cost_weight=1.0), (1, 3, 7, 12))
    stats = ExitStats(observed=(9, 9, 9, 9), disagreed=(0, 8, 8, 8), played=(0, 0, 0, 9))
    assert policy == UeeUcb(costs=COSTS, alpha=1.0)
    assert policy.name == "uee-ucb"
    assert policy.decide(stats, 3).exits == (choose_exit(stats, COSTS),) * 3
    assert policy.decide(stats, 0).exits == ()


def test_the_default_weighs_cost_a_tenth() -> None:
    """Without settings costs are a tenth of the share of layers."""
    assert build(PolicySettings("uee-ucb"), (6, 12)) == UeeUcb(costs=(0.05, 0.1), alpha=1.0)


def test_settings_that_make_no_sense_are_refused() -> None:
    """An unknown algorithm and an alpha that is no number of 0 or more are named."""
    with pytest.raises(InvalidInput, match="'ucb' is unknown"):
        PolicySettings(algorithm="ucb")
    for alpha in (-1.0, math.nan, math.inf):
        with pytest.raises(InvalidInput, match="alpha"):
            PolicySettings(alpha=alpha)


@settings(max_examples=25)
@given(
    table=st.lists(st.tuples(*[st.integers(0, 2)] * 3), min_size=1, max_size=60),
    alpha=st.floats(0, 4),
)
def test_the_replay_is_the_sequential_loop(table: list[tuple[int, ...]], alpha: float) -> None:
    """The fast replay plays exactly what choosing and counting text by text plays."""
    costs = (0.1, 0.2, 0.4)
    matrix, orders = np.array(table, dtype=np.int8), shuffles(len(table), 3)
    exits = uee_ucb_one_by_one(matrix, orders, costs, alpha=alpha)
    for trial in range(3):
        stats = ExitStats.zeros(3)
        for row in np.random.RandomState(trial).permutation(len(table)):
            chosen = choose_exit(stats, costs, alpha=alpha)
            stats += ExitStats.from_labels(table[row][: chosen + 1], exits=3)
        assert tuple(np.bincount(exits[trial], minlength=3)) == stats.played
