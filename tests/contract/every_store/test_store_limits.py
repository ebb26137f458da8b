"""One contract for every store: how many domains are kept, and for how long."""

import time
from dataclasses import replace
from typing import Any

import pytest

from policy_state.domains import OVERFLOW_DOMAIN
from policy_state.errors import InvalidInput, StoreFull
from policy_state.store.admin import Freeze, Pin, PolicyAdmin, Remove
from policy_state.store.reading import read_domains
from policy_state.store.values import DomainSnapshot, Limits, Refusal
from tests.support.policies.counted import DEEP, META, ONE, MakeStore, balance, change, part


def limited(make_store: MakeStore, **limits: Any) -> PolicyAdmin:
    """Return a store whose policy has these limits."""
    store = make_store()
    store.open(replace(META, limits=replace(Limits(), **limits)))
    return store


def test_domains_beyond_the_cap_share_one(make_store: MakeStore) -> None:
    """New domains beyond the cap are counted and shown as one, and the answer says so."""
    store = limited(make_store, domains=2)
    store.apply([part(0, 2, {"a": ONE, "b": ONE})])
    applied = store.apply([part(2, 6, {"c": ONE, "a": ONE, "d": DEEP})], also_read=["e"])
    assert applied.refused == {"c": Refusal.OVER_CAP, "d": Refusal.OVER_CAP}
    for name in ("c", "d", "e"):
        assert applied.snapshots[name].stats == ONE + DEEP
    assert applied.snapshots["a"].stats == ONE + ONE
    assert set(store.domains()) == {"a", "b", OVERFLOW_DOMAIN}
    with pytest.raises(StoreFull):
        change(store, "x", Pin(0))
    change(store, "b", Remove())
    assert store.apply([part(6, 7, {"c": ONE})]).snapshots["c"].stats == ONE
    assert (store.totals().stats.texts, balance(store)) == (6, 0)


def test_a_domain_without_a_record_is_not_taken_for_the_shared_one(make_store: MakeStore) -> None:
    """What is known of domains is told with settings and sums; of others nothing is made up."""
    store = limited(make_store, domains=1)
    store.apply([part(0, 3, {"a": ONE, "b": DEEP})])
    change(store, "a", Pin(2))
    found = read_domains(store, ["a", "b"])
    assert (found.opened, found.pool, found.damaged) == (store.describe(), ONE + DEEP, {})
    assert {name: (d.stats, d.pin) for name, d in found.snapshots.items()} == {"a": (ONE, 2)}
    assert set(read_domains(store, [OVERFLOW_DOMAIN]).snapshots) == {OVERFLOW_DOMAIN}


def test_idle_domains_make_room(make_store: MakeStore) -> None:
    """Hardly used domains go sooner than well used ones; those pinned or frozen stay."""
    store = limited(make_store, domains=4, idle_ms=60_000, rare_idle_ms=1, rare_texts=2)
    store.apply([part(0, 4, {"used": ONE + ONE, "rare": ONE, "pinned": ONE, "frozen": ONE})])
    change(store, "pinned", Pin(1))
    change(store, "frozen", Freeze())
    time.sleep(0.005)
    assert store.apply([part(4, 5, {"new": ONE})]).refused == {}
    assert set(store.domains()) == {"used", "pinned", "frozen", "new"}
    assert store.read(["rare"])["rare"] == DomainSnapshot.unseen(4)
    assert (store.totals().gone, balance(store)) == (1, 0)


def test_a_domain_whose_pin_has_ended_makes_room_as_any_other(make_store: MakeStore) -> None:
    """A pin for a time holds its domain until it ends, and as long as the idle time after it."""
    store = limited(make_store, idle_ms=400, rare_idle_ms=1, rare_texts=2)
    store.apply([part(0, 1, {"ended": ONE, "held": ONE})])
    change(store, "ended", Pin(1, for_ms=1))
    change(store, "mistyped", Pin(1, for_ms=1))
    change(store, "held", Pin(1, for_ms=60_000))
    store.apply([part(1, 2, {"new": ONE})])
    assert set(store.domains()) == {"ended", "mistyped", "held", "new"}
    time.sleep(0.5)
    store.apply([part(2, 3, {"new": ONE})])
    assert set(store.domains()) == {"held", "new"}
    assert (store.totals().gone, balance(store)) == (1, 0)


def test_pinned_domains_come_first(make_store: MakeStore) -> None:
    """Pinned for good or frozen, pinned for a time, well used, hardly used."""
    store = limited(make_store, rare_texts=2)
    many = {"used": ONE + ONE, "pinned": ONE + ONE, "rare": ONE, "for a time": ONE}
    store.apply([part(0, 1, many)])
    change(store, "for a time", Pin(1, for_ms=60_000))
    change(store, "pinned", Pin(1))
    store.apply([part(1, 2, many)])
    store.apply([part(2, 3, {"used": ONE})])
    assert store.domains() == ("pinned", "for a time", "used", "rare")


def test_a_domain_with_a_text_in_the_call_is_not_idle(make_store: MakeStore) -> None:
    """A domain whose text comes just when its time is over keeps its counters."""
    store = limited(make_store, idle_ms=1, rare_idle_ms=1)
    for offset in range(20):
        store.apply([part(offset, offset + 1, {"a": ONE, f"d{offset}": ONE})])
    assert store.read(["a"])["a"].stats.texts == 20
    assert balance(store) == 0


def test_many_idle_domains_go_a_few_a_call(make_store: MakeStore) -> None:
    """No call stands still to tidy up: of each class eight go at once, in the end all of them."""
    store = limited(make_store, idle_ms=1, rare_idle_ms=1, rare_texts=2)
    idle = {f"rare-{n}": ONE for n in range(20)} | {f"used-{n}": ONE + ONE for n in range(10)}
    store.apply([part(0, 1, idle)])
    time.sleep(0.005)
    left = []
    for offset in range(1, 4):
        store.apply([part(offset, offset + 1, {"new": ONE})])
        names = store.domains(limit=1000)
        left.append(tuple(sum(n.startswith(kind) for n in names) for kind in ("rare", "used")))
        assert balance(store) == 0
    assert left == [(12, 2), (4, 0), (0, 0)]


def test_a_call_takes_any_number_of_domains(make_store: MakeStore) -> None:
    """A batch with thousands of domains is counted whole, each of them listed in its place."""
    store = limited(make_store)
    many = {f"d{number}": ONE for number in range(2100)}
    store.apply([part(0, 2100, many)])
    store.apply([part(2100, 2101, {"d7": ONE})])
    assert set(store.domains(limit=3000)) == many.keys()
    snapshots = store.read(many)
    assert snapshots["d7"].stats == ONE + ONE
    assert all(snapshots[name].stats == ONE for name in many if name != "d7")
    assert (store.totals().domains, store.totals().stats.texts) == (2100, 2101)


def test_reading_removes_nothing(make_store: MakeStore) -> None:
    """Only counting tidies up: who only looks needs no right to write."""
    store = limited(make_store, idle_ms=1, rare_idle_ms=1)
    store.apply([part(0, 1, {"a": ONE})])
    time.sleep(0.005)
    store.read(["b"])
    assert store.domains() == ("a",)


def test_a_full_policy_leaves_further_domains_out(make_store: MakeStore) -> None:
    """An import beyond the cap says which domains it left out."""
    store = limited(make_store, domains=2)
    record = DomainSnapshot(ONE, 0, None)
    assert store.load(dict.fromkeys("abc", record), replace=True) == ("c",)
    assert store.totals().domains == 2


@pytest.mark.parametrize(
    "wrong", [{"domains": 0}, {"idle_ms": 0}, {"rare_idle_ms": -1}, {"rare_texts": -1}]
)
def test_limits_that_keep_nothing_are_refused(wrong: dict[str, int]) -> None:
    """At least one domain is kept, for at least a millisecond."""
    with pytest.raises(InvalidInput):
        replace(Limits(), **wrong)
