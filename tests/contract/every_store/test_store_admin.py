"""One contract for every store: the audit, settings in force, and whole domains from elsewhere."""

from dataclasses import replace

import pytest

from policy_state.algorithms.settings import PolicySettings
from policy_state.errors import InvalidInput, SettingsConflict
from policy_state.store.admin import PIN_MAX_MS, Freeze, Pin, PolicyAdmin, Reset
from policy_state.store.offsets import Counted
from policy_state.store.values import DomainSnapshot, Limits
from tests.support.policies.counted import DEEP, META, ONE, MakeStore, balance, change, part


def test_every_change_is_in_the_audit(store: PolicyAdmin) -> None:
    """Who, what, when and why, the newest first, and what was counted before it was lost."""
    store.apply([part(0, 1, {"hotels": ONE})])
    change(store, "hotels", Pin(2, for_ms=5000))
    store.change("hotels", Reset(keep=0.0), by="bob\n\u202e", reason="'\"; drop\ttable 旅館")
    change(store, "books", Freeze())
    store.note("import", {"domains": 3}, by="anna", reason="")
    entries = store.audit()
    assert [(e.action, e.domain) for e in entries] == [
        ("import", None),
        ("freeze", "books"),
        ("reset", "hotels"),
        ("pin", "hotels"),
    ]
    assert (entries[0].detail, entries[3].detail) == ({"domains": 3}, {"exit": 2, "for_ms": 5000})
    assert (entries[2].by, entries[2].reason) == ("bob\n\u202e", "'\"; drop\ttable 旅館")
    assert entries[2].before is not None
    assert entries[2].before.stats == ONE
    assert entries[0].time_ms >= entries[3].time_ms > 1_700_000_000_000
    assert [e.action for e in store.audit(domain="hotels")] == ["reset", "pin"]
    assert len(store.audit(limit=2)) == 2


def test_what_nobody_asked_for_is_told_apart(store: PolicyAdmin) -> None:
    """A worker's own reset is one of drift and is marked, as its notes are; a person's is not."""
    store.apply([part(0, 1, {"a": ONE})])
    by_worker = store.change("a", Reset(), by="w-1", reason="drift", automatic=True).after
    assert by_worker is not None
    assert (by_worker.epoch, by_worker.drifts) == (1, 1)
    by_person = store.change("a", Reset(), by="anna", reason="").after
    assert by_person is not None
    assert (by_person.epoch, by_person.drifts) == (2, 1)
    store.note("warm-start", {}, by="w-1", reason="", automatic=True)
    store.note("rebuild", {}, by="anna", reason="")
    found = [(entry.action, entry.automatic) for entry in store.audit()]
    assert found == [("rebuild", False), ("warm-start", True), ("reset", False), ("reset", True)]


def test_changes_that_make_no_sense_are_refused(store: PolicyAdmin) -> None:
    """An exit that is not there, a share that is none, nobody's name: nothing changes."""
    store.apply([part(0, 1, {"hotels": ONE})])
    for ask in (
        lambda: change(store, "hotels", Pin(4)),
        lambda: change(store, "hotels", Pin(0, for_ms=0)),
        lambda: change(store, "hotels", Pin(0, for_ms=PIN_MAX_MS + 1)),
        lambda: Reset(keep=1.0),
        lambda: change(store, "ho\ntels", Freeze()),
        lambda: store.change("hotels", Freeze(), by="", reason=""),
        lambda: store.change("hotels", Freeze(), by="anna", reason="x" * 201),
    ):
        with pytest.raises(InvalidInput):
            ask()
    assert store.audit() == ()


def test_settings_change_for_all_at_once(make_store: MakeStore) -> None:
    """The next answer of every store object carries the new settings and their revision."""
    store, other = make_store(), make_store()
    opened = store.open(META)
    assert other.open(META).revision == opened.revision == 1
    assert other.apply([]).revision == 1
    new = replace(PolicySettings(), cost=(0.1, 0.2, 0.3, 0.4), alpha=0.5)
    described = store.configure(new, Limits(domains=7), revision=1, by="anna", reason="cheaper")
    assert store.audit()[0].detail["domains"] == [100_000, 7]
    assert "idle_ms" not in store.audit()[0].detail
    assert (described.revision, described.meta.settings) == (2, new)
    assert described.meta.limits == Limits(domains=7)
    for _ in range(2):
        applied = other.apply([])
        assert (applied.revision, applied.settings) == (2, new)
        assert applied.limits == Limits(domains=7)
    assert store.open(META).meta.settings == new
    assert other.describe().revision == 2


def test_of_two_that_change_settings_at_once_one_is_told(store: PolicyAdmin) -> None:
    """Settings are changed from the revision that was read, or not at all."""
    store.configure(PolicySettings(alpha=2.0), Limits(), revision=1, by="anna", reason="")
    with pytest.raises(SettingsConflict, match="revision 2 is in force"):
        store.configure(replace(PolicySettings(), alpha=9), Limits(), revision=1, by="b", reason="")
    assert store.describe().meta.settings == PolicySettings(alpha=2.0)
    assert len(store.audit()) == 1


def test_whole_domains_are_written_from_elsewhere(store: PolicyAdmin) -> None:
    """Known domains are replaced or left out; twice the same is once; the ledger balances."""
    store.apply([part(0, 1, {"hotels": ONE})])
    hotels = DomainSnapshot(DEEP + DEEP, 2, 1234, pin=1, pin_reason="x y", frozen=True)
    books = DomainSnapshot(ONE, 0, None)
    assert store.load({"hotels": hotels, "books": books}, replace=False) == ("hotels",)
    assert store.read(["hotels", "books"])["hotels"].stats == ONE
    for _ in range(2):
        assert store.load({"hotels": hotels}, replace=True) == ()
    assert store.read(["hotels"])["hotels"] == hotels
    assert store.read(["books"])["books"].stats == ONE
    assert (balance(store), store.totals().domains) == (0, 2)


def test_watermarks_are_taken_where_there_are_none(store: PolicyAdmin) -> None:
    """A partition that was counted here keeps its own mark."""
    store.apply([part(3, 5, {"hotels": ONE})])
    there = {"t1/0": Counted(100), "t1/1": Counted(50, ((2, 9),))}
    store.adopt_watermarks(there)
    assert store.watermarks() == {"t1/0": Counted(5, ((0, 3),)), "t1/1": Counted(50, ((2, 9),))}
    store.adopt_watermarks({})
