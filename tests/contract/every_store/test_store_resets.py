"""One contract for every store: reset, removed and restarted, nothing is counted twice or lost."""

from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from policy_state.stats import ExitStats
from policy_state.store.admin import Freeze, Pin, PolicyAdmin, Remove, Reset, Unfreeze
from policy_state.store.changes import scaled
from policy_state.store.offsets import Counted, Status
from policy_state.store.values import DomainSnapshot, Refusal
from tests.support.policies.counted import DEEP, META, ONE, ZERO, MakeStore, balance, change, part


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
    texts=st.lists(
        st.tuples(labels, st.integers(0, 1000), st.sampled_from([None, 3]), st.integers(1, 2**40)),
        min_size=1,
        max_size=6,
    ),
    keep=st.floats(0.001, 0.999),
)
def test_a_soft_reset_keeps_a_share_that_hangs_together(
    make_store: MakeStore, texts: list[tuple[list[int], int, int | None, int]], keep: float
) -> None:
    """Every store keeps the same whole counters, deeper exits at most as often, plays adding up."""
    store = make_store()
    store.open(META)
    if "hotels" in store.domains():
        change(store, "hotels", Remove())
    total = ZERO
    for exit_labels, thousandths, chosen, times in texts:
        each = [[thousandths] * len(exit_labels)]
        one = ExitStats.from_texts(
            [exit_labels], exits=4, credits=each, scores=each, chosen=[chosen]
        )
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
