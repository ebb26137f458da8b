"""Settings and parts of the default one by one: each does what the comment beside it says."""

from typing import Any

import pytest

from benchmarks.policy.ablations import ABLATIONS, Make
from policy_state.algorithms.arrays import Assessment
from policy_state.algorithms.base import build
from policy_state.algorithms.settings import PolicySettings
from policy_state.stats import ExitStats

LAYERS = (1, 3, 7, 12)
SETTLED = ExitStats.from_texts([(0, 1, 1, 1), (1, 1, 1, 1)] * 500, exits=4)
"""Exit 1 is best at any of the weights here, and that is clear."""


def decided(stats: ExitStats, count: int, make: Make = build, **options: Any) -> tuple[int, ...]:
    """Return where so many texts go with some options, or without a part."""
    return make(PolicySettings(**options), LAYERS).decide(stats, count).exits


def assessed(make: Make = build, **options: Any) -> Assessment:
    """Return what is made of fifty texts."""
    few = ExitStats.from_texts([(0, 1, 1, 1), (0, 0, 0, 1), *[(1, 1, 1, 1)] * 48], exits=4)
    return make(PolicySettings(**options), LAYERS).assess(few)


def test_monotone_trusts_the_deeper_of_two_exits_at_one_cost() -> None:
    """Without it the one that disagrees more is taken, though the deeper one takes that back."""
    texts = [(0, 1, 1, 1), (0, 1, 0, 0), (0, 0, 0, 0), (1, 1, 1, 1)] * 250
    stats, cost = ExitStats.from_texts(texts, exits=4), (0.1, 0.5, 0.5, 1.0)
    assert set(decided(stats, 9, cost=cost)) == {2}
    assert set(decided(stats, 9, make=ABLATIONS["a deeper exit may be worse"], cost=cost)) == {1}


def test_without_a_prior_texts_wait_at_the_last_exit() -> None:
    """Until all exits were seen; with one, those that do not explore go to a middle exit."""
    for stats in (ExitStats.zeros(4), ExitStats.from_texts([(0, 1)] * 9, exits=4)):
        assert set(decided(stats, 512, ABLATIONS["no prior"])) == {3}
        assert {3} < set(decided(stats, 512)) <= {1, 2, 3}


@pytest.mark.parametrize(("scouts", "cost_weight"), [(12.0, 0.1), (3.0, 0.1), (12.0, 0.4)])
def test_scouts_are_as_many_as_said_over_the_span_of_costs(
    scouts: float, cost_weight: float
) -> None:
    """So many in a round, more the less depth costs; 0 sends all texts to explore."""
    options: dict[str, Any] = {"make": ABLATIONS["no probes"], "cost_weight": cost_weight}
    span = cost_weight * (1 - 1 / 12)
    found = decided(ExitStats.zeros(4), 512, scouts=scouts, **options)
    assert found.count(3) == int(scouts / span)
    assert set(decided(ExitStats.zeros(4), 512, scouts=0.0, **options)) == {3}


def test_without_probes_no_settled_text_runs_to_the_end() -> None:
    """With one, some do."""
    stats = SETTLED + ExitStats((10**6, 10**6, 0, 0), (0, 5 * 10**5, 0, 0), (0, 10**6, 0, 0))
    assert decided(stats, 512, ABLATIONS["no probes"], scouts=1e-9).count(3) == 0
    assert decided(stats, 512, scouts=1e-9).count(3) > 0


def test_alpha_is_the_width_of_the_bound() -> None:
    """At 0 no exit may gain more than it was seen to; at 4 more than at 1."""
    narrow, usual, wide = (assessed(alpha=alpha) for alpha in (0.0, 1.0, 4.0))
    assert narrow.indices == narrow.rewards == usual.rewards == wide.rewards
    assert wide.indices[3] > usual.indices[3] > narrow.indices[3]  # type: ignore[operator]


def test_kl_bounds_are_wider_than_paired_ones() -> None:
    """Each exit taken by itself leaves more room than the few texts on which two differ."""
    paired, kl = assessed(), assessed(ABLATIONS["KL-UCB"])
    assert kl.rewards == pytest.approx(paired.rewards)
    assert kl.indices[3] > paired.indices[3]  # type: ignore[operator]
