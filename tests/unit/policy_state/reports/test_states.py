"""How the domains of a policy are counted by what they do."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policy_state.algorithms.arrays import Counters
from policy_state.algorithms.settings import PolicySettings
from policy_state.reports.diagnosis import alarmed, diagnose
from policy_state.reports.states import State, count_states
from policy_state.stats import ExitStats
from policy_state.store.admin import Freeze, Pin, Reset
from policy_state.store.values import DomainSnapshot, PolicyMeta
from tests.support.memory.store import MemoryStore
from tests.support.policies.algorithms import OPTIONS, make

EXITS = 4
LABELS = st.lists(st.integers(0, 2), min_size=1, max_size=EXITS)
CLEAR = [
    ExitStats.from_texts([(0, 1, 1, 1), (1, 1, 1, 1), (0, 0, 0, 0)] * times, exits=EXITS)
    for times in (2, 200)
]
"""Counters of a few texts and of many, which all speak for exit 1."""

MIXES = st.lists(st.tuples(LABELS, st.sampled_from([1, 20, 400])), max_size=5)


@pytest.mark.parametrize("name", [*OPTIONS, "uee-ucb", "default"])
@settings(max_examples=25)
@given(mixes=st.lists(MIXES, min_size=1, max_size=5))
def test_those_alarmed_have_warnings_and_no_others(
    name: str, mixes: list[list[tuple[list[int], int]]]
) -> None:
    """Of many domains at once the same are alarmed as have a warning one by one."""
    policy = make(name, EXITS)
    many = [
        ExitStats.from_texts([text for text, times in mix for text in [text] * times], exits=EXITS)
        for mix in mixes
    ]
    warned = [
        bool(diagnose(s, policy.assess(s), policy.costs, credits=policy.credits).warnings)
        for s in many
    ]
    assert alarmed(Counters.of_many(many), policy).tolist() == warned


@pytest.fixture
def store() -> MemoryStore:
    """Return a store with an open policy, whose domains settle after some dozen texts."""
    made = MemoryStore()
    made.open(PolicyMeta("default", "f1", (1, 3, 7, 12)))
    return made


def load(store: MemoryStore, **domains: ExitStats) -> None:
    """Write counters of domains."""
    records = {name: DomainSnapshot(stats, 0, 1) for name, stats in domains.items()}
    assert store.load(records, replace=True) == ()


def test_each_domain_has_one_state(store: MemoryStore) -> None:
    """What people hold comes first, then what is not clear yet; the states add up to all."""
    load(store, few=CLEAR[0], clear=CLEAR[1], pinned=CLEAR[1], frozen=CLEAR[1], drifted=CLEAR[1])
    load(store, both=CLEAR[1])
    store.change("pinned", Pin(2), by="anna", reason="")
    store.change("frozen", Freeze(), by="anna", reason="")
    for change in (Freeze(), Pin(0)):
        store.change("both", change, by="anna", reason="")
    store.change("drifted", Reset(), by="w1", reason="", automatic=True)
    found = count_states(store)
    assert found.domains == 6
    assert {state: group.names for state, group in found.states.items()} == {
        State.PINNED: ["both", "pinned"],
        State.FROZEN: ["frozen"],
        State.DRIFTED: ["drifted"],
        State.LEARNING: ["few"],
        State.SETTLED: ["clear"],
    }
    assert (found.alarmed.domains, found.damaged.domains) == (0, 0)


def test_a_domain_started_afresh_settles_again(store: MemoryStore) -> None:
    """Drift is over once the domain knows its exit again; one that was reset by hand has none."""
    load(store, hotels=CLEAR[1], books=CLEAR[1])
    store.change("hotels", Reset(keep=0.5), by="w1", reason="", automatic=True)
    store.change("books", Reset(), by="anna", reason="")
    found = count_states(store).states
    assert (found[State.SETTLED].names, found[State.LEARNING].names) == (["hotels"], ["books"])


def test_alarms_are_counted_and_the_first_few_named(store: MemoryStore) -> None:
    """Of many domains that a warning is due for five are named, and all are counted."""
    odd = ExitStats.from_texts([(0, 1, 0, 0)] * 300 + [(0, 0, 0, 0)] * 300, exits=EXITS)
    load(store, **{f"d{i}": odd for i in range(250)}, fine=CLEAR[1])
    found = count_states(store)
    assert (found.alarmed.domains, len(found.alarmed.names), found.domains) == (250, 5, 251)
    assert "fine" not in found.alarmed.names


def test_a_broken_gate_is_an_alarm() -> None:
    """A domain whose gate closed because it broke its promise counts, if it has such a promise."""
    store = MemoryStore()
    store.open(PolicyMeta("default", "f1", (6, 12), PolicySettings(cost_weight=0), calibrated=True))
    texts = [(0, 1)] * 200 + [(1, 1)] * 200
    counters = ExitStats.from_texts(texts, exits=2, scores=[(995, 995)] * 400)
    load(store, hotels=replace(counters, gated=(9, 0)))
    assert count_states(store, lambda _: 0.99).alarmed.names == ["hotels"]
    assert count_states(store, lambda _: 0.0).alarmed.names == []
