"""What every algorithm keeps to, checked for each of them with the same checks."""

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.policy.ablations import ABLATIONS
from policy_state.algorithms.arrays import Counters, constant_exits
from policy_state.algorithms.base import Algorithm, build
from policy_state.algorithms.exploring import PROBE_COST
from policy_state.algorithms.settings import PolicySettings
from policy_state.simulation.replay import Fleet, _default_one_by_one, _in_batches, replay, shuffles
from policy_state.simulation.synthetic import SyntheticDomain
from policy_state.stats import ExitStats

OPTIONS: dict[str, Mapping[str, Any]] = {
    "alpha=0": {"alpha": 0.0},
    "cost_weight=0": {"cost_weight": 0.0},
    "cost_weight=1": {"cost_weight": 1.0},
    "split": {"cost": "split", "cost_weight": 1.0},
    "tolerance": {"tolerance": 0.05},
}
LAYERS = {1: (12,), 2: (6, 12), 4: (1, 3, 7, 12), 12: tuple(range(1, 13))}

NAMES = [*ABLATIONS, *OPTIONS]
every_policy = pytest.mark.parametrize("name", NAMES)
every_default = pytest.mark.parametrize("name", [n for n in NAMES if n != "uee-ucb"])


def make(name: str, exits: int = 4, **options: Any) -> Algorithm:
    """Return a new algorithm of that name for so many exits."""
    settings = PolicySettings(**{**OPTIONS.get(name, {}), **options})
    return ABLATIONS.get(name, build)(settings, LAYERS[exits])


def learnt(exits: int, texts: int, seed: int = 0, **domain: Any) -> ExitStats:
    """Return counters of texts that stopped anywhere, of a domain whose errors fall with depth."""
    rng = np.random.default_rng(seed)
    errors = tuple(0.3 * 0.6 ** np.arange(exits))
    labels, _ = SyntheticDomain(errors, violations=0.2, **domain).texts(texts, rng)
    depth = rng.integers(exits, size=texts)
    labels[np.arange(exits) > depth[:, None]] = -1
    return ExitStats.from_matrix(labels)


def seen_by(exits: int) -> st.SearchStrategy[ExitStats]:
    """Return counters of any few texts, those of a hundredfold of them among it."""
    label = st.integers(0, 3)
    texts = st.lists(st.lists(label, min_size=1, max_size=exits), max_size=12)
    times = st.sampled_from([1, 100])
    return st.builds(lambda t, n: ExitStats.from_texts(t * n, exits=exits), texts, times)


@every_policy
@pytest.mark.parametrize("exits", LAYERS)
@settings(max_examples=6, deadline=None)
@given(data=st.data())
def test_exits_exist_and_are_as_many_as_asked(name: str, exits: int, data: st.DataObject) -> None:
    """Whatever the counters, the count and the workers: so many exits, each one of the model's."""
    policy, stats = make(name, exits), data.draw(seen_by(exits))
    count = data.draw(st.sampled_from([1, 2, 7, 64]))
    workers = data.draw(st.sampled_from([1, 4, 16]))
    pool = data.draw(st.none() | seen_by(exits))
    chosen = policy.decide(stats, count, workers=workers, pool=pool)
    assert len(chosen) == count
    assert all(type(exit_) is int for exit_ in chosen)
    assert set(chosen) <= set(range(exits))
    assert policy.decide(stats, 0, workers=workers, pool=pool) == ()
    assessment = policy.assess(stats, pool=pool)
    assert 0 <= assessment.exit < exits
    assert len(assessment.rewards) == len(assessment.indices) == exits


@every_policy
def test_equal_counters_and_generators_give_equal_exits(name: str) -> None:
    """The same counters and seed decide the same, in another object too, and change nothing."""
    stats = learnt(4, 300)
    one, other = make(name), make(name)
    for count in (1, 33, 256):
        generators = random.Random(5), random.Random(5)
        chosen = [
            p.decide(stats, count, rng=g) for p, g in zip((one, other), generators, strict=True)
        ]
        assert chosen[0] == chosen[1]
        assert generators[0].getstate() == generators[1].getstate()
        assert one.decide(stats, count) == other.decide(stats, count)
    assert stats == learnt(4, 300)


@every_policy
def test_instances_share_nothing(name: str) -> None:
    """What one policy has decided on leaves no trace in another, or in what itself says next."""
    stats, early = learnt(4, 3000, seed=2), learnt(4, 20, seed=1)
    used, fresh = make(name), make(name)
    for seed in range(5):
        used.decide(learnt(4, 500, seed=seed), 64)
        used.assess(learnt(4, 500, seed=seed))
    for counters in (stats, early, ExitStats.zeros(4)):
        assert used.decide(counters, 32) == fresh.decide(counters, 32)
        assert used.assess(counters) == fresh.assess(counters)


@every_default
@pytest.mark.parametrize("exits", LAYERS)
@settings(max_examples=5, deadline=None)
@given(data=st.data())
def test_many_domains_at_once_are_decided_as_each_by_itself(
    name: str, exits: int, data: st.DataObject
) -> None:
    """`decide_one_each` gives every domain the exit that `decide` gives its one event."""
    policy: Any = make(name, exits)
    domains = data.draw(st.lists(seen_by(exits), min_size=1, max_size=5))
    draws = [random.Random(i).random() for i in range(len(domains))]
    counters = Counters(*np.stack([np.stack(Counters.of(d)) for d in domains], axis=1))
    at_once = policy.decide_one_each(counters, np.array(draws))
    alone = [policy.decide(d, 1, rng=random.Random(i))[0] for i, d in enumerate(domains)]
    assert at_once.tolist() == alone


@every_policy
def test_a_batch_of_one_by_one_worker_is_the_sequential_replay(name: str) -> None:
    """The replay of all trials together plays and starts afresh as worker and store would."""
    rng = np.random.default_rng(3)
    halves = [SyntheticDomain(e).texts(192, rng)[0] for e in ((0.45, 0.05), (0.05, 0.05))]
    labels = np.concatenate(halves)
    policy: Any = make(name, 2)
    orders = np.stack([np.arange(384), np.roll(np.arange(384), 31)])
    fast = replay(policy, labels, orders)
    for trial, order in enumerate(orders):
        exits, resets = _in_batches(policy, labels[order], trial, Fleet(), None)
        assert fast.exits[trial].tolist() == exits.tolist()
        assert fast.resets[trial] == resets
    if name == "default":
        assert all(fast.resets)


@every_policy
def test_of_equals_one_is_chosen_the_same_way(name: str) -> None:
    """Exits at one cost that say the same: UEE-UCB takes the first, the others the deepest."""
    policy = make(name, cost=(0.5, 0.5, 0.5, 0.5))
    stats = ExitStats.from_texts([(1, 1, 1, 1), (0, 0, 0, 0)] * 500, exits=4)
    expected = 0 if policy.name == "uee-ucb" else 3
    assert policy.assess(stats).exit == expected
    assert set(policy.decide(stats, 64)) == {expected}


@every_policy
@pytest.mark.parametrize("exits", [2, 4, 12])
def test_before_any_text_nothing_is_left_at_exit_0(name: str, exits: int) -> None:
    """A new domain starts deeper than exit 0, where nothing could be learnt, and looks deep."""
    policy = make(name, exits)
    chosen = policy.decide(ExitStats.zeros(exits), 256, workers=4)
    assert 0 not in chosen
    assert exits - 1 in chosen
    assert policy.assess(ExitStats.zeros(exits)).exit > 0


@pytest.mark.parametrize("cost", ["layers", "split", (0.2, 0.2, 0.6, 0.6)])
def test_the_first_choice_is_the_deepest_of_its_tier(cost: str | tuple[float, ...]) -> None:
    """Before any text, of exits at one cost the deepest is taken."""
    policy = build(PolicySettings(cost=cost), LAYERS[4])
    first = policy.assess(ExitStats.zeros(4)).exit
    assert all(c > policy.costs[first] for c in policy.costs[first + 1 :])


def test_by_tolerance_a_new_domain_waits_at_the_last_exit() -> None:
    """Nothing is taken on trust: no pool and no prior lets a text leave early."""
    sure = ExitStats.from_texts([(1, 1, 1, 1)] * 9999, exits=4)
    assert set(make("tolerance").decide(ExitStats.zeros(4), 99, pool=sure)) == {3}


def test_sixteen_workers_share_the_scouts() -> None:
    """A round of sixteen workers explores as much as one worker would alone, within one each."""
    policy = make("no probes")
    new = ExitStats.zeros(4)
    alone = policy.decide(new, 16 * 512).count(3)
    each = policy.decide(new, 512, workers=16).count(3)
    assert alone == int(12 / (policy.costs[3] - policy.costs[0])) == 130
    assert alone - 16 <= 16 * each <= alone
    assert policy.decide(new, 1, workers=16) == (3,)  # a worker with one text looks all the same
    every = build(PolicySettings(scouts=0.0), LAYERS[4])
    assert every.decide(new, 512, workers=16).count(3) == 512


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
        policy.decide(stats, 4000 // workers, workers=workers, rng=random.Random(i))
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
        assert constant not in policy.decide(stats, 512)
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
        chosen = policy.decide(stats, 8, pool=pool)
        batch[np.arange(4) > np.array(chosen)[:, None]] = -1
        stats += ExitStats.from_matrix(batch)
    assert policy.assess(stats, pool=pool).exit == right
    assert policy.decide(stats, 8, pool=pool).count(right) >= 7


def test_a_pool_guides_the_first_texts() -> None:
    """A new domain begins where the others' gains are worth their cost."""
    policy = make("default")
    deep = ExitStats.from_texts([(0, 0, 0, 0), (0, 0, 1, 1)] * 999, exits=4)
    shallow = ExitStats.from_texts([(0, 0, 0, 0), (0, 1, 1, 1)] * 999, exits=4)
    flat = ExitStats.from_texts([(0, 0, 0, 0)] * 999, exits=4)
    first = [policy.assess(ExitStats.zeros(4), pool=pool).exit for pool in (deep, shallow, flat)]
    assert first == [2, 1, 1]


@every_default
def test_a_domain_that_has_changed_starts_afresh_in_a_fleet(name: str) -> None:
    """Batches, several workers and late counters: the change is seen, once, unless switched off."""
    rng = np.random.default_rng(0)
    halves = [SyntheticDomain(e).texts(3000, rng)[0] for e in ((0.4, 0.1, 0.1, 0.1), (0.1,) * 4)]
    labels, orders = np.concatenate(halves), np.arange(6000)[None]
    played = replay(make(name), labels, orders, fleet=Fleet(workers=2, batch=32, delay=2))
    expected = 0 if name == "drift = 0" else 1
    assert len(played.resets[0]) == expected
    assert all(3000 < reset < 4000 for reset in played.resets[0])


def test_replays_begin_with_any_size_of_batch() -> None:
    """One batch larger than all that drift looks back on is counted like any other."""
    domain = SyntheticDomain((0.3, 0.1))
    labels, _ = domain.texts(40_000, np.random.default_rng(0))
    played = replay(make("default", 2), labels, shuffles(40_000, 1), fleet=Fleet(batch=40_000))
    assert played.exits.shape == (1, 40_000)
    assert played.resets == ((),)


def test_all_trials_of_a_replay_are_apart() -> None:
    """A trial plays the same alone as beside others."""
    labels, _ = SyntheticDomain((0.3, 0.2, 0.1, 0.1)).texts(500, np.random.default_rng(0))
    orders = shuffles(500, 3)
    policy: Any = make("default")
    together: Any = _default_one_by_one(policy, labels, orders)
    first: Any = _default_one_by_one(policy, labels, orders[:1])
    assert together.exits[0].tolist() == first.exits[0].tolist()
