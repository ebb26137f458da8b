"""Bounds, expected counters and shares: against values by hand and by brute force."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.policy.ablations import kl_bounds
from policy_state.algorithms.arrays import Counters
from policy_state.algorithms.bounds import (
    anchored_bounds,
    at_most_deeper,
    certain_upper_bound,
    certainly_at_most,
    coin_divergence,
    coin_upper_bound,
    last_best,
    paired_bounds,
)
from policy_state.algorithms.exploring import probe_shares, scouts_in_all, spread, with_probes
from policy_state.reports.shares import Share
from policy_state.stats import ExitStats

COSTS = np.array([0.1, 0.2, 0.3, 0.4])


def floats(*values: float) -> np.ndarray:
    """Return an array of floats."""
    return np.array(values, dtype=np.float64)


def test_paired_bounds_by_hand() -> None:
    """Each step from all texts that have it, variances summed from the leader to the exit."""
    observed, gained = floats(100, 100, 50, 20), floats(0, 30, 5, 1)
    lost, texts = floats(0, 0, 2, 1), floats(100)
    found = paired_bounds(observed, gained - lost, gained + lost, texts, COSTS, alpha=1.5)
    assert found.gain == pytest.approx([0, 0.3, 0.36, 0.36])
    assert found.leader == 1
    variance = [(7 + 0.5) / 50.5 - 0.06**2, (2 + 0.5) / 20.5]
    for exit_, (n, spread_) in {
        2: (50, variance[0] / 50),
        3: (20, variance[0] / 50 + variance[1] / 20),
    }.items():
        rate = 1.5 * math.log(1 + 100 / n)
        bonus = math.sqrt(2 * rate * spread_) + rate / (3 * n)
        assert found.upper[exit_] == pytest.approx(found.gain[exit_] + bonus)
    assert found.upper[:2] == pytest.approx(found.gain[:2])  # up to the leader: no bonus


def test_a_few_equal_texts_prove_nothing() -> None:
    """A step that was 0 on all of three texts may still be large; on three thousand it is not."""
    for texts, low, high in ((3, 0.3, 2.0), (3000, 0.0, 0.01)):
        n = floats(*[texts] * 4)
        zero = np.zeros(4)
        upper = paired_bounds(n, zero, zero, floats(texts), COSTS, alpha=1).upper
        assert low < upper[1] < high
        assert list(upper) == sorted(upper)


def test_anchored_bounds_by_hand() -> None:
    """Minus the disagreement with the last exit, and Bernstein's bonus for all but the leader."""
    found = anchored_bounds(floats(40), floats(20, 8, 1, 0), floats(400), COSTS, alpha=1)
    assert found.gain == pytest.approx([-0.5, -0.2, -0.025, 0])
    assert found.leader == 2
    rate = math.log(1 + 10)
    bonus = math.sqrt(2 * rate * 8.5 / 40.5 / 40) + rate / 120
    assert found.upper[1] == pytest.approx(-0.2 + bonus)
    assert found.upper[2] == found.gain[2]


def test_kl_bounds_by_brute_force() -> None:
    """The largest share whose divergence from the mean is within the room, found on a grid."""
    observed, disagreed = floats(100, 80, 30, 10), floats(0, 20, 9, 10)
    found = kl_bounds(observed, disagreed, floats(100), COSTS, alpha=2)
    grid = np.linspace(0, 1, 200_001)
    for exit_ in range(4):
        n, mean = observed[exit_], disagreed[exit_] / observed[exit_]
        room = 2 * math.log(1 + 100 / n) / n
        inside = grid[(grid >= mean) & (coin_divergence(np.full(1, mean), grid) <= room)]
        assert found.upper[exit_] == pytest.approx(inside.max(), abs=1e-5)
    assert found.leader == 3


@given(p=st.floats(0, 1), q=st.floats(0.001, 0.999))
def test_the_divergence_of_coins_is_its_formula(p: float, q: float) -> None:
    """It is p ln(p/q) + (1-p) ln((1-p)/(1-q)) with 0 ln 0 = 0; never negative, 0 of equals."""
    terms = [a * math.log(a / b) for a, b in ((p, q), (1 - p, 1 - q)) if a > 0]
    assert coin_divergence(floats(p), floats(q))[0] == pytest.approx(sum(terms), abs=1e-9)
    assert coin_divergence(floats(p), floats(q))[0] >= -1e-12
    assert coin_divergence(floats(q), floats(q))[0] == pytest.approx(0, abs=1e-12)


@settings(deadline=None)
@given(mean=st.floats(0, 1), room=st.floats(0, 3))
def test_the_bound_of_a_coin_uses_all_its_room(mean: float, room: float) -> None:
    """At the bound the room is used up, unless it is 1; it is never below the mean."""
    upper = coin_upper_bound(floats(mean), room)
    assert mean <= upper[0] <= 1
    used = coin_divergence(floats(mean), upper)[0]
    if upper[0] < 1 - 1e-6:
        assert used == pytest.approx(room, abs=1e-4)


def test_the_certain_bound_is_1_of_nothing_and_shrinks() -> None:
    """Without texts everything may be; 150 texts that agree bound a share below 3 percent."""
    bounds = certain_upper_bound(np.zeros(4), floats(0, 10, 150, 10_000))
    assert bounds[0] == 1
    assert list(bounds) == sorted(bounds, reverse=True)
    assert 0.02 < bounds[2] < 0.05
    assert bounds[3] < 0.001


@settings(deadline=None)
@given(hits=st.integers(0, 300), texts=st.integers(0, 300), limit=st.floats(0.01, 0.5))
def test_within_a_limit_is_what_the_certain_bound_says(hits: int, texts: int, limit: float) -> None:
    """Asked without the bound itself, the answer is the same but for rounding at the limit."""
    mean, n = floats(min(hits, texts) / max(texts, 1)), floats(texts)
    bound = certain_upper_bound(mean, n)[0]
    if abs(bound - limit) > 1e-6:
        assert certainly_at_most(limit, mean, n)[0] == (bound <= limit)


def test_ties_go_to_the_deepest() -> None:
    """Of equal values the last index; of rows each its own."""
    assert last_best(np.array([[1.0, 2, 2, 0], [3, 3, 3, 3], [5, 1, 1, 1]])).tolist() == [2, 3, 0]
    assert at_most_deeper(floats(3, 1, 2, np.inf)).tolist() == [1, 1, 2, np.inf]


@given(
    many=st.lists(st.lists(st.integers(0, 3), min_size=4, max_size=4), min_size=1, max_size=20),
    exit_=st.integers(0, 3),
    some=st.integers(0, 500),
    more=st.integers(0, 500),
)
def test_expected_counters_keep_their_means(
    many: list[list[int]], exit_: int, some: int, more: int
) -> None:
    """Texts to come count as those before: equal means, so many more texts, in one step or two."""
    now = Counters.of(ExitStats.from_texts(many, exits=4))
    then = now.after(exit_, some)
    ran = np.arange(4) <= exit_
    assert then.observed == pytest.approx(now.observed + some * ran)
    for kind in ("disagreed", "gained", "lost", "odd", "high"):
        rates = [getattr(c, kind) / c.observed for c in (now, then)]
        assert rates[0] == pytest.approx(rates[1])
    assert then.apart / then.observed[-1] == pytest.approx(now.apart / now.observed[-1])
    for two_steps, one in zip(then.after(exit_, more), now.after(exit_, some + more), strict=True):
        assert two_steps == pytest.approx(one)


@given(hits=st.integers(0, 10**6), texts=st.integers(1, 10**6))
def test_a_share_lies_in_its_interval(hits: int, texts: int) -> None:
    """Within 0..1, around the share, wherever it is; more hits than texts are all of them."""
    found = Share.of(hits, texts)
    assert found is not None
    assert 0 <= found.low <= found.share <= found.high <= 1
    assert found.share == min(hits, texts) / texts
    assert found.high - found.low > 0
    assert Share.of(hits, 0) is None


def test_rare_plays_are_spread_evenly() -> None:
    """Scouts are worked in from the first event on; probes take the place of the latter ones."""
    assert spread((), 1, 3) == (1, 1, 1)
    assert spread((3,), 1, 4) == (3, 1, 1, 1)
    assert spread((3, 2, 3), 0, 3) == (3, 2, 3)
    assert spread((3,) * 4, 0, 10) == (3, 0, 3, 0, 0, 3, 0, 3, 0, 0)
    assert with_probes((1, 1, 2), 2, 3) == [1, 3, 3]
    assert with_probes((1, 1), 5, 3) == [3, 3]
    assert with_probes((1, 1), -4, 3) == [1, 1]


def test_scouts_and_probes_follow_costs() -> None:
    """As many as their cost allows; all texts where depth costs nothing or scouts are 0."""
    assert scouts_in_all((0.1, 0.4), 12) == pytest.approx(40)
    assert scouts_in_all((0.1, 0.4), 0) == scouts_in_all((0.2, 0.2), 12) == math.inf
    assert probe_shares((0.0, 0.05, 0.1, 0.1), 0.001).tolist() == pytest.approx([0.01, 0.02, 0, 0])
    assert probe_shares((0.0, 0.0001), 0.001).tolist() == [1, 0]
