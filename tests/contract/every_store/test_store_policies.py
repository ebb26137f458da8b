"""One contract for every statistics store: opening policies, and the workers that are alive."""

import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from policy_state.algorithms.settings import PolicySettings
from policy_state.errors import (
    FingerprintMismatch,
    InvalidDomain,
    InvalidInput,
    PolicyNotOpen,
)
from policy_state.stats import ExitStats
from policy_state.store.offsets import Status
from policy_state.store.port import StatsStore
from policy_state.store.values import PartitionDeltas, PolicyMeta
from tests.support.policies.counted import ONE

META = PolicyMeta(
    name="sentiment",
    fingerprint="f1",
    layers=(1, 3, 7, 12),
    settings=PolicySettings(cost=(0.1, 0.2, 0.25, 1 / 3), cost_weight=0.1, alpha=0.7),
)

MakeStore = Callable[[], StatsStore]


def part(deltas: dict[str, ExitStats]) -> PartitionDeltas:
    """Return the part of the first text of a partition."""
    return PartitionDeltas("t1", 0, 0, 1, deltas)


def test_a_policy_is_created_once_and_found_again(make_store: MakeStore) -> None:
    """The first to open creates; the next finds the same counters and the settings stored first."""
    first, second = make_store(), make_store()
    created = first.open(META)
    first.apply([part({"hotels": ONE})])
    found = second.open(PolicyMeta(META.name, META.fingerprint, META.layers))
    assert (created.created, found.created) == (True, False)
    assert found.id == created.id
    assert found.meta == created.meta == META
    assert second.read(["hotels"])["hotels"].stats == ONE


def test_whether_the_model_is_calibrated_is_kept(make_store: MakeStore) -> None:
    """It is stored when a policy is created, and whoever opens or lists it later reads it."""
    for calibrated in (True, False):
        meta = replace(META, name=f"calibrated {calibrated}", calibrated=calibrated)
        make_store().open(meta)
        assert make_store().open(replace(meta, calibrated=not calibrated)).meta == meta
        assert meta in make_store().policies()


def test_another_model_is_turned_away_naming_both(make_store: MakeStore) -> None:
    """A policy name with another fingerprint or other layers does not open."""
    make_store().open(META)
    with pytest.raises(FingerprintMismatch, match=r"fingerprint f2 .* belong to f1"):
        make_store().open(PolicyMeta(META.name, "f2", META.layers))
    with pytest.raises(
        FingerprintMismatch, match=r"\(1, 3\).* belong to f1 and \(1, 3, 7, 12\)"
    ) as told:
        make_store().open(PolicyMeta(META.name, "f1", (1, 3)))
    for mend in ("store.on_mismatch=new", "store.on_mismatch=warm-start", "policy.name=NAME"):
        assert f"--set {mend}" in str(told.value)


def test_policies_do_not_see_each_other(make_store: MakeStore) -> None:
    """Two policies of one store have their own counters and watermarks, and both are listed."""
    store = make_store()
    other = PolicyMeta("a topic's", "f2", (6, 12), PolicySettings(cost="split"))
    assert store.policies() == ()
    store.open(META)
    store.apply([part({"hotels": ONE})])
    store.open(other)
    assert store.domains() == ()
    two = ExitStats.from_labels([0, 1], exits=2)
    assert store.apply([part({"hotels": two})]).outcomes[0].status is Status.APPLIED
    assert store.policies() == (other, META)
    assert (store.find(other.name), store.find(META.name), store.find("none")) == (
        other,
        META,
        None,
    )
    store.open(META)
    assert store.totals().stats == ONE


def test_a_store_wants_a_policy_first(make_store: MakeStore) -> None:
    """Whatever needs a policy says so before one is open."""
    store = make_store()
    for ask in (lambda: store.apply([]), lambda: store.read(["a"]), store.domains, store.totals):
        with pytest.raises(PolicyNotOpen):
            ask()


def test_workers_are_seen_while_their_heart_beats(make_store: MakeStore) -> None:
    """A heartbeat shows its latest fields until its time is over."""
    store = make_store()
    assert store.workers() == {}
    store.heartbeat("host-1/a:{b}", {"events": 1, "old": "x"}, ttl_s=60)
    store.heartbeat("host-1/a:{b}", {"events": 2}, ttl_s=60)
    store.heartbeat("host-2", {"events": 3}, ttl_s=0.05)
    assert store.workers()["host-1/a:{b}"] == {"events": "2"}
    time.sleep(0.1)
    assert store.workers().keys() == {"host-1/a:{b}"}
    for instance, fields, ttl_s in (("a", {}, 1.0), ("a", {"x": 1}, 0.0), ("a\nb", {"x": 1}, 1.0)):
        with pytest.raises((InvalidInput, InvalidDomain)):
            store.heartbeat(instance, fields, ttl_s=ttl_s)
