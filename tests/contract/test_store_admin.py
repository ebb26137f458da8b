"""One contract for every store: what operators change, and that nothing is lost track of."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from policy_state.algorithms.settings import PolicySettings
from policy_state.errors import (
    DomainNotFound,
    InvalidInput,
    SettingsConflict,
)
from policy_state.stats import ExitStats
from policy_state.store.admin import (
    PIN_MAX_MS,
    Change,
    Freeze,
    Pin,
    PolicyAdmin,
    Remove,
    Reset,
    Unfreeze,
    Unpin,
)
from policy_state.store.changes import scaled
from policy_state.store.offsets import Counted, Status
from policy_state.store.values import DomainSnapshot, Limits, PartitionDeltas, PolicyMeta, Refusal
from tests.support.waiting import wait_for

META = PolicyMeta("sentiment", "f1", (1, 3, 7, 12))
ONE = ExitStats.from_labels([0, 1, 1], exits=4)
DEEP = ExitStats.from_labels([1, 1, 0, 0], exits=4)
ZERO = ExitStats.zeros(4)

MakeStore = Callable[[], PolicyAdmin]


@pytest.fixture
def store(make_store: MakeStore) -> PolicyAdmin:
    """Return a store with the policy open."""
    store = make_store()
    store.open(META)
    return store


def part(first: int, upto: int, deltas: dict[str, ExitStats], **epochs: int) -> PartitionDeltas:
    """Return one part of a call to apply."""
    return PartitionDeltas("t1", 0, first, upto, deltas, epochs)


def change(store: PolicyAdmin, domain: str, what: Change) -> DomainSnapshot:
    """Change a domain and return what it then is."""
    return store.change(domain, what, by="anna", reason="a good reason").after


def balance(store: PolicyAdmin) -> int:
    """Return how many texts the ledger and the domains differ by; 0 where nothing is missing."""
    totals = store.totals()
    held = sum(d.stats.texts for d in store.read(store.domains(limit=1000)).values())
    return totals.stats.texts + totals.brought - totals.gone - held


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


def test_texts_decided_before_a_reset_do_not_count_after_it(store: PolicyAdmin) -> None:
    """A reset starts a new epoch; what was on its way in the old one is refused."""
    store.apply([part(0, 1, {"hotels": ONE})])
    assert change(store, "hotels", Reset()) == replace(
        store.read(["hotels"])["hotels"], stats=ZERO, epoch=1
    )
    applied = store.apply([part(1, 2, {"hotels": ONE, "books": ONE}, hotels=0, books=0)])
    assert applied.refused == {"hotels": Refusal.STALE_EPOCH}
    assert applied.snapshots["hotels"].stats == ZERO
    assert (applied.snapshots["hotels"].epoch, applied.snapshots["books"].stats) == (1, ONE)
    assert store.apply([part(2, 3, {"hotels": ONE}, hotels=1)]).refused == {}
    totals = store.totals()
    assert (totals.stats.texts, totals.gone, totals.skipped, balance(store)) == (3, 1, 1, 0)


def test_an_epoch_outlives_the_loss_of_its_domain(store: PolicyAdmin) -> None:
    """Where a domain went meanwhile its workers' epoch is taken over: no text is lost to that."""
    applied = store.apply([part(0, 1, {"hotels": ONE}, hotels=3)])
    assert (applied.refused, applied.snapshots["hotels"].epoch) == ({}, 3)


def test_of_many_that_see_a_drift_one_resets(store: PolicyAdmin) -> None:
    """A reset that names the epoch it saw does nothing in the next one."""
    store.apply([part(0, 1, {"hotels": ONE})])
    assert change(store, "hotels", Reset(epoch=0)).epoch == 1
    store.apply([part(1, 2, {"hotels": ONE}, hotels=1)])
    after = change(store, "hotels", Reset(epoch=0))
    assert (after.epoch, after.stats) == (1, ONE)
    assert len(store.audit()) == 1


labels = st.lists(st.integers(0, 1), min_size=1, max_size=4)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    texts=st.lists(st.tuples(labels, st.integers(1, 2**44)), min_size=1, max_size=6),
    keep=st.floats(0.001, 0.999),
)
def test_a_soft_reset_keeps_a_share_that_hangs_together(
    make_store: MakeStore, texts: list[tuple[list[int], int]], keep: float
) -> None:
    """Every store keeps the same whole counters, deeper exits at most as often, plays adding up."""
    store = make_store()
    store.open(META)
    if "hotels" in store.domains():
        change(store, "hotels", Remove())
    total = ZERO
    for exit_labels, times in texts:
        one = ExitStats.from_labels(exit_labels, exits=4)
        fields = {name: count * times for name, count in one.to_fields().items()}
        total += ExitStats.from_fields(fields, exits=4)
    store.load({"hotels": replace(DomainSnapshot.unseen(4), stats=total)}, replace=True)
    kept = change(store, "hotels", Reset(keep=keep)).stats
    assert kept == scaled(total, keep)
    assert kept.texts == kept.observed[0] == sum(kept.played)
    assert list(kept.observed) == sorted(kept.observed, reverse=True)
    assert all(d <= n for d, n in zip(kept.disagreed, kept.observed, strict=True))
    assert total.texts * keep - 5 <= kept.texts <= total.texts * keep + 1
    assert balance(store) == 0


def test_a_removed_domain_was_never_seen(store: PolicyAdmin) -> None:
    """Removing forgets counters, pin and epoch; the ledger remembers how many texts went."""
    store.apply([part(0, 9, {"hotels": ONE + ONE, "books": ONE})])
    change(store, "hotels", Reset())
    store.apply([part(9, 10, {"hotels": ONE})])
    change(store, "hotels", Pin(1))
    assert change(store, "hotels", Remove()) == DomainSnapshot.unseen(4)
    assert store.domains() == ("books",)
    assert store.read(["hotels"])["hotels"] == DomainSnapshot.unseen(4)
    assert (store.totals().gone, store.totals().stats.texts, balance(store)) == (3, 4, 0)


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


def test_a_restart_counts_the_past_again_and_the_present_on(store: PolicyAdmin) -> None:
    """From zero, old texts are brought again while workers count new ones; pins stay."""
    store.apply([part(0, 10, {"hotels": DEEP, "books": ONE})])
    change(store, "hotels", Pin(2))
    change(store, "books", Freeze())
    store.restart(by="anna", reason="counters were damaged")
    assert {name: s.stats for name, s in store.read(["hotels", "books"]).items()} == {
        "hotels": ZERO,
        "books": ZERO,
    }
    assert (store.totals().stats, balance(store)) == (ZERO, 0)
    assert store.apply([part(10, 11, {"hotels": ONE})]).outcomes[0].status is Status.APPLIED
    applied = store.apply([part(0, 4, {"hotels": ONE, "books": ONE})], rebuild=True)
    assert applied.outcomes[0].status is Status.APPLIED
    assert applied.snapshots["hotels"].pin == 2
    assert applied.snapshots["books"].frozen
    assert applied.snapshots["hotels"].stats == ONE + ONE
    assert store.apply([part(2, 4, {"hotels": ONE})]).outcomes[0].status is Status.DUPLICATE
    assert store.apply([part(4, 10, {"hotels": ONE})]).outcomes[0].status is Status.APPLIED
    assert store.watermarks() == {"t1/0": Counted(11)}
    assert (store.totals().stats.texts, balance(store)) == (4, 0)
    change(store, "books", Unfreeze())
    assert balance(store) == 0


def test_samples_tell_how_a_domain_came_to_be(store: PolicyAdmin) -> None:
    """Twice a doubling a domain is noted down as it then is; its own samples, the latest first."""
    seen = {}
    for offset in range(70):
        deltas = {"hôtels": ONE, "books": DEEP} if offset < 20 else {"hôtels": ONE}
        seen[offset + 1] = store.apply([part(offset, offset + 1, deltas)]).snapshots["hôtels"]
    samples = store.samples("hôtels")
    assert [s.record.stats.texts for s in samples] == [64, 48, 32, 24, 16]
    assert all(s.record == seen[s.record.stats.texts] for s in samples)
    assert all(s.time_ms >= (s.record.last_seen_ms or 0) for s in samples)
    assert store.samples("hôtels", limit=2) == samples[:2]
    assert [s.record.stats.texts for s in store.samples("books")] == [16]
    assert store.samples("absent") == ()


def test_a_new_epoch_is_sampled_anew_and_the_past_is_not(store: PolicyAdmin) -> None:
    """After a reset samples start small again; one large call takes one; a rebuild takes none."""
    for epoch in (0, 1):
        store.apply([part(epoch, epoch + 1, {"hotels": sum([ONE] * 999, ONE)})])
        change(store, "hotels", Reset())
    store.apply([part(2, 3, {"hotels": sum([ONE] * 99, ONE)})], rebuild=True)
    assert [(s.record.epoch, s.record.stats.texts) for s in store.samples("hotels")] == [
        (1, 1000),
        (0, 1000),
    ]
