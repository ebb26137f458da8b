"""The default algorithm: scouts, probes, screened exits, and what other domains have learnt."""

import random

import numpy as np
import pytest

from policy_state.algorithms.arrays import Counters, constant_exits
from policy_state.algorithms.base import build
from policy_state.algorithms.exploring import PROBE_COST
from policy_state.algorithms.settings import PolicySettings
from policy_state.simulation.synthetic import SyntheticDomain
from policy_state.stats import ExitStats
from tests.support.policies.algorithms import LAYERS, make


@pytest.mark.parametrize("cost", ["layers", "split", (0.2, 0.2, 0.6, 0.6)])
def test_the_first_choice_is_the_deepest_of_its_tier(cost: str | tuple[float, ...]) -> None:
    """Before any text, of exits at one cost the deepest is taken."""
    policy = build(PolicySettings(cost=cost), LAYERS[4])
    first = policy.assess(ExitStats.zeros(4)).exit
    assert all(c > policy.costs[first] for c in policy.costs[first + 1 :])


def test_by_tolerance_a_new_domain_waits_at_the_last_exit() -> None:
    """Nothing is taken on trust: no pool and no prior lets a text leave early."""
    sure = ExitStats.from_texts([(1, 1, 1, 1)] * 9999, exits=4)
    assert set(make("tolerance").decide(ExitStats.zeros(4), 99, pool=sure).exits) == {3}


def test_sixteen_workers_share_the_scouts() -> None:
    """A round of sixteen workers explores as much as one worker would alone, within one each."""
    policy = make("no probes")
    new = ExitStats.zeros(4)
    alone = policy.decide(new, 16 * 512).exits.count(3)
    each = policy.decide(new, 512, workers=16).exits.count(3)
    assert alone == int(12 / (policy.costs[3] - policy.costs[0])) == 130
    assert alone - 16 <= 16 * each <= alone
    assert policy.decide(new, 1, workers=16).exits == (
        3,
    )  # a worker with one text looks all the same
    every = build(PolicySettings(scouts=0.0), LAYERS[4])
    assert every.decide(new, 512, workers=16).exits.count(3) == 512


@pytest.mark.parametrize("cost_weight", [0.0, 0.03, 1.0])
def test_a_tolerance_stands_in_place_of_the_cost_weight(cost_weight: float) -> None:
    """Exits and probes are the same whatever the weight, also where it makes depth cost nothing."""
    usual, other = (
        build(PolicySettings(tolerance=0.05, cost_weight=weight), LAYERS[4])
        for weight in (0.1, cost_weight)
    )
    settled = ExitStats.from_texts([(0, 1, 1, 1), (1, 1, 1, 1)] * 300, exits=4)
    more = settled + ExitStats((10**6, 10**6, 0, 0), (0, 0, 0, 0), (0, 10**6, 0, 0))
    for stats in (ExitStats.zeros(4), settled, more):
        assert other.decide(stats, 512, workers=2) == usual.decide(stats, 512, workers=2)
        assert other.assess(stats) == usual.assess(stats)
    assert other.assess(settled).exit == 1


@pytest.mark.parametrize("workers", [1, 8])
def test_probes_cost_what_they_may(workers: int) -> None:
    """Of texts settled at an exit, as many run to the end as cost `PROBE_COST` a text."""
    policy = make("default")
    share = PROBE_COST / (policy.costs[3] - policy.costs[1])
    settled = ExitStats.from_texts([(0, 1), (1, 1)] * 78_400, exits=4)
    deep = ExitStats.from_texts([(0, 1, 1, 1), (1, 1, 1, 1)] * 200, exits=4)
    stats = settled + deep
    due = (share * (stats.observed[0] + 4000) - stats.observed[3]) / workers
    found = [
        policy.decide(stats, 4000 // workers, workers=workers, rng=random.Random(i)).exits
        for i in range(50)
    ]
    assert {exit_ for chosen in found for exit_ in chosen} == {1, 3}
    probes = [chosen.count(3) for chosen in found]
    assert set(probes) == {int(due), int(due) + 1}
    assert np.mean(probes) == pytest.approx(due, abs=4 * 0.5 / 50**0.5)


@pytest.mark.parametrize(
    ("classes", "label"), [(classes, label) for classes in (2, 3, 4) for label in range(classes)]
)
@pytest.mark.parametrize("constant", range(3))
def test_constant_exits_are_never_chosen(classes: int, label: int, constant: int) -> None:
    """An exit that says one class of every text is screened, whichever class of how many."""
    domain = SyntheticDomain((0.3, 0.2, 0.15, 0.1), violations=0.1, classes=classes)
    labels, _ = domain.texts(600, np.random.default_rng(label))
    labels[:, constant] = label
    stats = ExitStats.from_matrix(labels)
    assert np.flatnonzero(constant_exits(Counters.of(stats))).tolist() == [constant]
    for weight in (0.0, 0.1, 1.0):
        policy = build(PolicySettings(cost_weight=weight), LAYERS[4])
        assert constant not in policy.decide(stats, 512).exits
        assessment = policy.assess(stats)
        assert assessment.screened == (constant,)
        assert assessment.exit != constant
        assert assessment.anchor == (3 if constant == 0 else 0)
    kept = make("no screen").assess(stats)
    assert kept.screened == ()


@pytest.mark.parametrize("said", [(0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)])
def test_an_exit_that_tells_two_classes_apart_is_kept(said: tuple[int, int]) -> None:
    """A shallow exit that never says the other classes, of three or four, is no constant one."""
    rng = np.random.default_rng(0)
    truth = rng.choice(4, size=2000, p=[0.4 if label in said else 0.1 for label in range(4)])
    first = np.where(np.isin(truth, said), truth, said[0])
    stats = ExitStats.from_matrix(np.stack([first, truth, truth, truth], axis=1))
    assessment = build(PolicySettings(cost_weight=0.5), LAYERS[4]).assess(stats)
    assert (assessment.screened, assessment.anchor, assessment.exit) == ((), 0, 1)


def test_by_credits_a_constant_exit_is_like_any_other() -> None:
    """A step from an exit that always says the same is worth its credits: no screen, no anchor."""
    domain = SyntheticDomain((0.5, 0.2, 0.1, 0.1), constant=(0,))
    labels, truth = domain.texts(600, np.random.default_rng(0))
    credits = SyntheticDomain.credits(labels, truth)
    assessment = make("credits").assess(ExitStats.from_matrix(labels, credits=credits))
    assert (assessment.screened, assessment.anchor, assessment.exit) == ((), 0, 2)
    right = labels == truth[:, None]
    gains = right.mean(axis=0) - right[:, 0].mean()
    costs = np.array(make("credits").costs)
    assert assessment.rewards == pytest.approx(gains - costs + costs[0], abs=0.002)


@pytest.mark.parametrize("classes", [2, 4])
def test_a_one_sided_domain_is_not_screened(classes: int) -> None:
    """Where the last exit says nearly always the same too, no exit is left out for it."""
    domain = SyntheticDomain((0.02, 0.01, 0.01, 0.01), first_share=0.99, classes=classes)
    labels, _ = domain.texts(3000, np.random.default_rng(0))
    assert not constant_exits(Counters.of(ExitStats.from_matrix(labels))).any()


@pytest.mark.parametrize("said", [0, 2])
def test_a_pool_that_is_wrong_is_soon_forgotten(said: int) -> None:
    """The pool of other domains weighs 20 texts: two hundred of the domain's own overrule it."""
    deep = [(0, 0, 0, 0), (0, 0, 1, 1)]
    flat = [(0, 0, 0, 0), (1, 1, 1, 1)]
    pool = ExitStats.from_texts((flat if said == 0 else deep) * 50_000, exits=4)
    own = deep if said == 0 else flat
    policy = make("default")
    right = 2 - said
    stats = ExitStats.zeros(4)
    rows = np.array(own * 100)
    order = np.random.default_rng(1).permutation(200)
    for start in range(0, 200, 8):
        batch = rows[order[start : start + 8]].copy()
        chosen = policy.decide(stats, 8, pool=pool).exits
        batch[np.arange(4) > np.array(chosen)[:, None]] = -1
        stats += ExitStats.from_matrix(batch)
    assert policy.assess(stats, pool=pool).exit == right
    assert policy.decide(stats, 8, pool=pool).exits.count(right) >= 7


def test_a_pool_guides_the_first_texts() -> None:
    """A new domain begins where the others' gains are worth their cost."""
    policy = make("default")
    deep = ExitStats.from_texts([(0, 0, 0, 0), (0, 0, 1, 1)] * 999, exits=4)
    shallow = ExitStats.from_texts([(0, 0, 0, 0), (0, 1, 1, 1)] * 999, exits=4)
    flat = ExitStats.from_texts([(0, 0, 0, 0)] * 999, exits=4)
    first = [policy.assess(ExitStats.zeros(4), pool=pool).exit for pool in (deep, shallow, flat)]
    assert first == [2, 1, 1]
