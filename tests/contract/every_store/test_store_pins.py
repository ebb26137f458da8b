"""One contract for every store: pinned and frozen domains."""

import pytest

from policy_state.errors import DomainNotFound
from policy_state.store.admin import (
    PIN_MAX_MS,
    Freeze,
    Pin,
    PolicyAdmin,
    Remove,
    Reset,
    Unfreeze,
    Unpin,
)
from policy_state.store.offsets import Status
from policy_state.store.values import Refusal
from tests.support.policies.counted import DEEP, META, ONE, MakeStore, balance, change, part
from tests.support.waiting import wait_for


def test_a_pin_reaches_all_with_the_next_snapshot(make_store: MakeStore) -> None:
    """A pinned domain says so in every answer, with until when and why, and learns on."""
    store, other = make_store(), make_store()
    store.open(META)
    other.open(META)
    store.apply([part(0, 1, {"hotels": ONE})])
    pinned = change(store, "hotels", Pin(2, for_ms=60_000))
    assert (pinned.pin, pinned.pin_reason, pinned.stats) == (2, "a good reason", ONE)
    applied = other.apply([part(1, 2, {"hotels": ONE})])
    assert applied.snapshots["hotels"].pin == 2
    assert applied.snapshots["hotels"].pin_until_ms == pinned.pin_until_ms
    assert applied.snapshots["hotels"].stats == ONE + ONE
    freed = change(store, "hotels", Unpin())
    assert (freed.pin, freed.pin_until_ms, freed.pin_reason) == (None, None, "")


def test_the_longest_pin_is_one_like_any_other(store: PolicyAdmin) -> None:
    """A domain pinned for as long as may be can be counted, read and unpinned."""
    until_ms = change(store, "hotels", Pin(1, for_ms=PIN_MAX_MS)).pin_until_ms
    assert store.apply([part(0, 1, {"hotels": ONE})]).snapshots["hotels"].pin_until_ms == until_ms
    assert change(store, "hotels", Unpin()).pin is None


def test_a_pin_ends_by_itself(store: PolicyAdmin) -> None:
    """When its time is over a pin is gone from every answer, without anybody doing anything."""
    change(store, "hotels", Pin(1, for_ms=1))
    wait_for(lambda: store.read(["hotels"])["hotels"].pin is None, 10)
    after = store.apply([part(0, 1, {"hotels": ONE})]).snapshots["hotels"]
    assert (after.pin, after.pin_until_ms, after.pin_reason) == (None, None, "")
    assert after.stats == ONE


def test_a_domain_may_be_pinned_before_its_first_text(store: PolicyAdmin) -> None:
    """A pin or freeze can be there first; unpinning what is nothing else leaves no trace."""
    change(store, "hotels", Pin(3))
    assert store.domains() == ("hotels",)
    assert store.read(["hotels"])["hotels"].last_seen_ms is None
    change(store, "hotels", Unpin())
    assert store.domains() == ()
    assert store.totals().domains == 0
    for what in (Unpin(), Unfreeze(), Reset(), Remove()):
        with pytest.raises(DomainNotFound):
            change(store, "hotels", what)


def test_a_frozen_domain_counts_nothing_and_says_so(store: PolicyAdmin) -> None:
    """Its texts are refused one by one, the rest of the call counts, and the ledger knows."""
    store.apply([part(0, 1, {"hotels": ONE})])
    assert change(store, "hotels", Freeze()).freeze_reason == "a good reason"
    applied = store.apply([part(1, 5, {"hotels": DEEP + DEEP, "books": ONE})])
    assert applied.outcomes[0].status is Status.APPLIED
    assert applied.refused == {"hotels": Refusal.FROZEN}
    assert applied.snapshots["hotels"].stats == applied.snapshots["books"].stats == ONE
    assert applied.snapshots["hotels"].frozen
    assert store.totals().skipped == 2
    assert store.apply([part(5, 6, {"hotels": ONE})], rebuild=True).refused == {}
    change(store, "hotels", Unfreeze())
    applied = store.apply([part(6, 7, {"hotels": ONE})])
    assert applied.snapshots["hotels"].stats == ONE + ONE + ONE
    assert (applied.refused, balance(store)) == ({}, 0)
