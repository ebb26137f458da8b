"""What every algorithm keeps to, checked for each of them with the same checks."""

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.policy.ablations import ABLATIONS
from policy_state.algorithms.arrays import Counters
from policy_state.simulation.matrix import Matrix
from policy_state.simulation.replay import Fleet, _default_one_by_one, _in_batches, replay, shuffles
from policy_state.simulation.synthetic import SyntheticDomain
from policy_state.stats import ExitStats
from tests.support.policies.algorithms import LAYERS, OPTIONS, learnt, make

NAMES = [*ABLATIONS, *OPTIONS]
every_policy = pytest.mark.parametrize("name", NAMES)
every_default = pytest.mark.parametrize("name", [n for n in NAMES if n != "uee-ucb"])


def seen_by(exits: int) -> st.SearchStrategy[ExitStats]:
    """Return counters of any few texts, those of a hundredfold of them among it."""
    label = st.integers(0, 3)
    texts = st.lists(
        st.lists(st.tuples(label, st.integers(0, 1000)), min_size=1, max_size=exits), max_size=12
    )
    times = st.sampled_from([1, 100])

    def counted(texts: list[list[tuple[int, int]]], times: int) -> ExitStats:
        labels, credits = ([[pair[i] for pair in text] for text in texts * times] for i in (0, 1))
        return ExitStats.from_texts(labels, exits=exits, credits=credits)

    return st.builds(counted, texts, times)


@every_policy
@pytest.mark.parametrize("exits", LAYERS)
@settings(max_examples=6)
@given(data=st.data())
def test_exits_exist_and_are_as_many_as_asked(name: str, exits: int, data: st.DataObject) -> None:
    """Whatever the counters, the count and the workers: exits of the model, and its settled one."""
    policy, stats = make(name, exits), data.draw(seen_by(exits))
    count = data.draw(st.sampled_from([1, 2, 7, 64]))
    workers = data.draw(st.sampled_from([1, 4, 16]))
    pool = data.draw(st.none() | seen_by(exits))
    chosen, settled = policy.decide(stats, count, workers=workers, pool=pool)
    assert len(chosen) == count
    assert all(type(exit_) is int for exit_ in chosen)
    assert set(chosen) <= set(range(exits))
    assert policy.decide(stats, 0, workers=workers, pool=pool).exits == ()
    assessment = policy.assess(stats, pool=pool)
    assert 0 <= assessment.exit == settled < exits
    assert len(assessment.rewards) == len(assessment.indices) == exits


@every_policy
@pytest.mark.parametrize("exits", LAYERS)
@settings(max_examples=6)
@given(data=st.data())
def test_many_domains_at_once_settle_as_each_does(
    name: str, exits: int, data: st.DataObject
) -> None:
    """`settled_exits` gives each of many domains the exit that `assess` gives it."""
    policy = make(name, exits)
    many = [*data.draw(st.lists(seen_by(exits), min_size=1, max_size=6)), learnt(exits, 300)]
    pool = data.draw(st.none() | seen_by(exits))
    found = policy.settled_exits(Counters.of_many(many), pool=pool)
    assert found.tolist() == [policy.assess(stats, pool=pool).exit for stats in many]


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
@settings(max_examples=5)
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
    alone = [policy.decide(d, 1, rng=random.Random(i)).exits[0] for i, d in enumerate(domains)]
    assert at_once.tolist() == alone


@every_policy
def test_a_batch_of_one_by_one_worker_is_the_sequential_replay(name: str) -> None:
    """The replay of all trials together plays and starts afresh as worker and store would."""
    rng = np.random.default_rng(3)
    halves = [SyntheticDomain(e).texts(192, rng) for e in ((0.45, 0.05), (0.05, 0.05))]
    labels = np.concatenate([half for half, _ in halves])
    credits = np.concatenate([SyntheticDomain.credits(*half) for half in halves])
    policy: Any = make(name, 2)
    orders = np.stack([np.arange(384), np.roll(np.arange(384), 31)])
    fast = replay(policy, labels, orders, credits=credits)
    for trial, order in enumerate(orders):
        exits, resets = _in_batches(
            policy, Matrix(labels[order], credits=credits[order]), trial, Fleet(), None
        )
        assert fast.exits[trial].tolist() == exits.tolist()
        assert fast.resets[trial] == resets
    if name in ("default", "credits"):
        assert all(fast.resets)


@every_policy
def test_of_equals_one_is_chosen_the_same_way(name: str) -> None:
    """Exits at one cost that say the same: UEE-UCB takes the first, the others the deepest."""
    policy = make(name, cost=(0.5, 0.5, 0.5, 0.5))
    stats = ExitStats.from_texts([(1, 1, 1, 1), (0, 0, 0, 0)] * 500, exits=4)
    expected = 0 if policy.name == "uee-ucb" else 3
    assert policy.assess(stats).exit == expected
    assert set(policy.decide(stats, 64).exits) == {expected}


@every_policy
@pytest.mark.parametrize("exits", [2, 4, 12])
def test_before_any_text_nothing_is_left_at_exit_0(name: str, exits: int) -> None:
    """A new domain starts deeper than exit 0, where nothing could be learnt, and looks deep."""
    policy = make(name, exits)
    chosen = policy.decide(ExitStats.zeros(exits), 256, workers=4).exits
    assert 0 not in chosen
    assert exits - 1 in chosen
    assert policy.assess(ExitStats.zeros(exits)).exit > 0


@every_default
def test_a_domain_that_has_changed_starts_afresh_in_a_fleet(name: str) -> None:
    """Batches, several workers and late counters: the change is seen, once, unless switched off."""
    rng = np.random.default_rng(0)
    halves = [SyntheticDomain(e).texts(3000, rng) for e in ((0.4, 0.1, 0.1, 0.1), (0.1,) * 4)]
    labels, orders = np.concatenate([half for half, _ in halves]), np.arange(6000)[None]
    credits = np.concatenate([SyntheticDomain.credits(*half) for half in halves])
    fleet = Fleet(workers=2, batch=32, delay=2)
    played = replay(make(name), labels, orders, credits=credits, fleet=fleet)
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
    together: Any = _default_one_by_one(policy, labels, orders, None)
    first: Any = _default_one_by_one(policy, labels, orders[:1], None)
    assert together.exits[0].tolist() == first.exits[0].tolist()
