"""One contract for every statistics store: in memory, on a real Redis, on a real Valkey."""

import threading
import time
import uuid
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from policy_state.errors import (
    CounterOverflow,
    InvalidDomain,
    InvalidInput,
)
from policy_state.stats import COUNT_MAX, ExitStats
from policy_state.store.offsets import Status
from policy_state.store.port import StatsStore
from policy_state.store.values import PartitionDeltas, PartitionOutcome, PolicyMeta
from tests.support.policies.counted import DEEP, META, ONE, MakeStore, part

HOSTILE = ("{x}:d:a", "a b/*?[c]", "%2F", "epoch", "旅館 🏨", "'; FLUSHALL --", '"\\', "ä" * 64)


def test_applying_adds_and_answers_with_the_new_counters(store: StatsStore) -> None:
    """Deltas are added per domain; the answer holds the domains of the parts and of `also_read`."""
    store.apply([part(0, 3, {"hotels": ONE + DEEP, "books": ONE})])
    applied = store.apply([part(3, 4, {"hotels": ONE})], also_read=["books", "new"])
    assert applied.outcomes == (PartitionOutcome(Status.APPLIED, 4),)
    assert applied.snapshots.keys() == {"hotels", "books", "new"}
    assert applied.snapshots["hotels"].stats == ONE + DEEP + ONE
    assert applied.snapshots["books"].stats == ONE
    assert applied.snapshots["new"].stats == ExitStats.zeros(4)
    assert store.read(["hotels", "books", "new"]) == applied.snapshots
    assert store.totals().stats == ONE + ONE + ONE + DEEP
    assert store.totals().domains == 2


def test_a_snapshot_says_when_the_domain_last_changed(store: StatsStore) -> None:
    """A changed domain carries the store's time; an unseen one has none and is of epoch 0."""
    snapshots = store.apply([part(0, 1, {"hotels": ONE})], also_read=["new"]).snapshots
    last_seen_ms = snapshots["hotels"].last_seen_ms
    assert last_seen_ms is not None
    assert last_seen_ms > 1_700_000_000_000
    assert snapshots["new"].last_seen_ms is None
    assert snapshots["hotels"].epoch == snapshots["new"].epoch == 0


def test_a_part_sent_again_counts_once(store: StatsStore) -> None:
    """What lies wholly below the watermark is a duplicate and changes nothing."""
    first = store.apply([part(0, 5, {"hotels": ONE})])
    for again in (part(0, 5, {"hotels": ONE}), part(2, 4, {"hotels": ONE})):
        applied = store.apply([again])
        assert applied.outcomes == (PartitionOutcome(Status.DUPLICATE, 5),)
        assert applied.snapshots == first.snapshots
    assert store.totals().stats == ONE


def test_an_overlap_is_told_and_not_counted(store: StatsStore) -> None:
    """A part that was counted up to its middle changes nothing and says up to where."""
    store.apply([part(0, 5, {"hotels": ONE})])
    applied = store.apply([part(3, 9, {"hotels": DEEP}), part(0, 2, {"hotels": DEEP}, partition=1)])
    assert applied.outcomes == (
        PartitionOutcome(Status.OVERLAP, 5, missing=((5, 9),)),
        PartitionOutcome(Status.APPLIED, 2),
    )
    assert applied.snapshots["hotels"].stats == ONE + DEEP
    assert store.apply([part(5, 9, {"hotels": DEEP})]).outcomes[0].status is Status.APPLIED


def test_parts_of_one_call_are_held_against_each_other(store: StatsStore) -> None:
    """Two parts of one partition in one call are taken in order, and twice the same counts once."""
    parts = [part(0, 5, {"hotels": ONE}), part(5, 9, {"hotels": ONE}), part(5, 9, {"hotels": ONE})]
    applied = store.apply(parts)
    assert [outcome.status for outcome in applied.outcomes] == ["applied", "applied", "duplicate"]
    assert applied.snapshots["hotels"].stats == ONE + ONE


def test_gaps_in_the_offsets_are_normal(store: StatsStore) -> None:
    """A part may start above what is counted, and may be without any text."""
    applied = store.apply([part(100, 200, {"hotels": ONE}), part(7, 8, partition=1)])
    assert [outcome.counted_upto for outcome in applied.outcomes] == [200, 8]
    assert [outcome.gap for outcome in applied.outcomes] == [0, 0]  # the start of a partition
    (outcome,) = store.apply([part(205, 210, {"hotels": ONE})]).outcomes
    assert outcome == PartitionOutcome(Status.APPLIED, 210, gap=5)


def test_a_gap_is_filled_by_whoever_brings_it(store: StatsStore) -> None:
    """Texts that a worker held back while others went on are counted when they come, once."""
    store.apply([part(0, 10, {"hotels": ONE}), part(20, 30, {"hotels": ONE})])
    assert store.apply([part(10, 15, {"books": DEEP})]).outcomes[0].status is Status.APPLIED
    assert store.apply([part(10, 15, {"books": DEEP})]).outcomes[0].status is Status.DUPLICATE
    overlap = store.apply([part(12, 35, {"books": DEEP})]).outcomes[0]
    assert (overlap.status, overlap.missing) == (Status.OVERLAP, ((15, 20), (30, 35)))
    for first, upto in overlap.missing:
        (outcome,) = store.apply([part(first, upto, {"books": DEEP})]).outcomes
        assert outcome.status is Status.APPLIED
    assert store.apply([part(0, 35)]).outcomes[0].status is Status.DUPLICATE
    assert store.totals().stats.texts == 5


def test_partitions_and_topics_have_their_own_watermarks(store: StatsStore) -> None:
    """A recreated topic has another id and starts at offset 0; so does another partition."""
    parts = [
        part(0, 5, {"hotels": ONE}, partition=p, topic=t) for t in ("t1", "t2") for p in (0, 1)
    ]
    assert {outcome.status for outcome in store.apply(parts).outcomes} == {Status.APPLIED}
    assert {outcome.status for outcome in store.apply(parts).outcomes} == {Status.DUPLICATE}
    assert store.totals().stats.texts == 4


def test_a_domain_without_change_is_not_listed(store: StatsStore) -> None:
    """Counters of zero and domains that are only read leave no trace."""
    store.apply([part(0, 1, {"hotels": ExitStats.zeros(4)})], also_read=["books"])
    assert store.domains() == ()
    assert store.totals().domains == 0


def test_domains_come_most_recently_active_first(store: StatsStore) -> None:
    """Pages of domains are in the order of their last change."""
    names = [*(f"d{number}" for number in range(5)), "d1"]
    for offset, name in enumerate(names):
        store.apply([part(offset, offset + 1, {name: ONE})])
        time.sleep(0.002)  # the order is one of milliseconds
    assert store.domains() == ("d1", "d4", "d3", "d2", "d0")
    assert store.domains(limit=2) == ("d1", "d4")
    assert store.domains(limit=0) == ()


@pytest.mark.parametrize("name", HOSTILE)
def test_any_allowed_domain_name_is_only_a_name(store: StatsStore, name: str) -> None:
    """Names that look like keys, patterns or commands are kept apart from everything else."""
    store.apply([part(0, 2, {"hotels": DEEP, name: ONE})])
    assert set(store.domains()) == {name, "hotels"}
    assert store.read([name, "hotels"])[name].stats == ONE
    assert store.read(["hotels"])["hotels"].stats == DEEP


def test_forbidden_domain_names_change_nothing(store: StatsStore) -> None:
    """One bad name, in the parts or in `also_read`, and nothing of the call is counted."""
    for parts, also_read in (
        ([part(0, 1, {"hotels": ONE, "a\nb": ONE})], []),
        ([part(0, 1, {"hotels": ONE})], ["x" * 129]),
        ([part(0, 1, {"hotels": ONE})], ["\u202egnp"]),
    ):
        with pytest.raises(InvalidDomain):
            store.apply(parts, also_read=also_read)
    assert store.totals().stats.texts == 0
    assert store.apply([part(0, 1, {"hotels": ONE})]).outcomes[0].status is Status.APPLIED


def test_counters_of_another_model_change_nothing(store: StatsStore) -> None:
    """Counters of another number of exits are refused before anything is counted."""
    with pytest.raises(InvalidInput, match=r"books: counters of 3 exits, .* exits 0\.\.3"):
        store.apply([part(0, 1, {"hotels": ONE, "books": ExitStats.zeros(3)})])
    assert store.domains() == ()


def test_counts_are_exact_up_to_the_limit_and_refused_beyond(store: StatsStore) -> None:
    """2^53 - 1 is reached exactly; one more, for a domain or for the sum, changes nothing."""
    nearly = ExitStats((COUNT_MAX - 1, 0, 0, 0), (0,) * 4, (COUNT_MAX - 1, 0, 0, 0))
    one = ExitStats.from_labels([0], exits=4)
    store.apply([part(0, 1, {"hotels": nearly})])
    assert store.apply([part(1, 2, {"hotels": one})]).snapshots["hotels"].stats == nearly + one
    for domain in ("hotels", "books"):
        with pytest.raises(CounterOverflow):
            store.apply([part(0, 1, {"music": DEEP}, partition=1), part(2, 3, {domain: one})])
    assert store.totals().stats.observed == (COUNT_MAX, 0, 0, 0)
    assert store.domains() == ("hotels",)
    assert store.apply([part(0, 1, partition=1)]).outcomes[0].status is Status.APPLIED
    too_many = ExitStats((COUNT_MAX + 1, 0, 0, 0), (0,) * 4, (0,) * 4)
    with pytest.raises(InvalidInput, match="a count above"):
        store.apply([part(0, 1, {"books": too_many}, partition=2)])


def test_credits_scores_and_texts_at_the_gate_are_counted(store: StatsStore) -> None:
    """All kinds of a calibrated model add up, also where all texts of a batch met the gate."""
    held = ExitStats.from_texts(
        [(0, 1, 1, 0), (1, 1)],
        exits=4,
        credits=[(0, 420, 0, 310), (0, 0)],
        scores=[(600, 700, 800, 900), (990, 1000)],
        chosen=[1, None],
    )
    assert held.misled_600 == (0, 0, 0, 0)
    assert held.misled_700 == held.misled_800 == (0, 0, 0, 1)
    gone = replace(ExitStats.zeros(4), gated=(0, 3, 0, 0))
    assert (gone.texts, gone.all_texts) == (0, 3)
    store.apply([part(0, 2, {"hotels": held})])
    found = store.apply([part(2, 5, {"hotels": gone, "books": gone})]).snapshots
    assert found["hotels"].stats == held + gone
    assert found["books"].stats == gone
    assert store.read(["hotels", "books"]) == found
    assert store.totals().stats == held + gone + gone


@pytest.mark.parametrize("kind", ["credit", "squares", "confidence"])
def test_more_thousandths_than_texts_can_add_change_nothing(store: StatsStore, kind: str) -> None:
    """Of a sum the limit is 1000 for each text that computed the exit."""
    most = {kind: (1000, 2000, 0, 0)}
    sound = ExitStats((2, 2, 0, 0), (0,) * 4, (0, 2, 0, 0), **most)
    store.apply([part(0, 2, {"hotels": sound})])
    most[kind] = (1000, 2001, 0, 0)
    with pytest.raises(InvalidInput, match="thousandths"):
        store.apply([part(2, 4, {"music": ONE, "hotels": replace(sound, **most)})])
    assert store.domains() == ("hotels",)
    assert store.read(["hotels"])["hotels"].stats == sound


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_delivery_in_pieces_and_again_counts_every_text_once(
    make_store: MakeStore, data: st.DataObject
) -> None:
    """However a stream is cut, and whatever is sent twice, the sum is that of the texts."""
    store = make_store()
    topic = uuid.uuid4().hex  # not drawn: every example gets a fresh policy and topic
    store.open(PolicyMeta(topic, "f1", (1, 3, 7, 12)))
    labels = st.lists(st.integers(0, 1), min_size=1, max_size=4)
    texts = data.draw(st.lists(st.tuples(st.sampled_from("ab"), labels), min_size=1, max_size=12))
    sums = {"a": ExitStats.zeros(4), "b": ExitStats.zeros(4)}
    first = 0
    while first < len(texts):
        upto = data.draw(st.integers(first + 1, len(texts)))
        deltas: dict[str, ExitStats] = {}
        for domain, exit_labels in texts[first:upto]:
            delta = ExitStats.from_labels(exit_labels, exits=4)
            deltas[domain] = deltas.get(domain, ExitStats.zeros(4)) + delta
            sums[domain] += delta
        for _ in range(data.draw(st.integers(1, 2))):
            store.apply([part(first, upto, deltas, topic=topic)])
        first = upto
    assert {name: kept.stats for name, kept in store.read("ab").items()} == sums
    assert store.totals().stats == sums["a"] + sums["b"]


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_ranges_in_any_order_count_every_offset_once(
    make_store: MakeStore, data: st.DataObject
) -> None:
    """However ranges overlap, and in whatever order they come, each offset adds its text once."""
    store = make_store()
    topic = uuid.uuid4().hex
    store.open(PolicyMeta(topic, "f1", (1, 3, 7, 12)))
    ranges = st.tuples(st.integers(0, 30), st.integers(1, 8))
    counted: set[int] = set()

    def bring(first: int, upto: int) -> PartitionOutcome:
        size = upto - first
        delta = ExitStats((size, 0, 0, 0), (0, 0, 0, 0), (size, 0, 0, 0))
        return store.apply([part(first, upto, {"a": delta}, topic=topic)]).outcomes[0]

    for first, size in data.draw(st.lists(ranges, min_size=1, max_size=10)):
        outcome = bring(first, first + size)
        for piece in outcome.missing:
            assert bring(*piece).status is Status.APPLIED
        counted |= set(range(first, first + size))
        assert store.totals().stats.texts == len(counted)


def test_threads_that_apply_at_once_lose_nothing(make_store: MakeStore) -> None:
    """Eight workers, each with its partition and all with the same domains, add up exactly."""

    def work(store: StatsStore, partition: int) -> None:
        for offset in range(50):
            deltas = {"shared": ONE, f"d{offset % 3}": DEEP}
            store.apply([part(offset, offset + 1, deltas, partition=partition)])

    stores = [make_store() for _ in range(4)] * 2  # two threads on each
    for store in stores:
        store.open(META)
    threads = [threading.Thread(target=work, args=(s, p)) for p, s in enumerate(stores)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    total = stores[0].totals()
    assert stores[0].read(["shared"])["shared"].stats.observed == (400, 400, 400, 0)
    assert total.stats.observed == (800, 800, 800, 400)
    assert total.stats.texts == 800
    assert total.domains == 4


@pytest.mark.parametrize(
    ("topic", "partition", "first", "upto"),
    [("", 0, 0, 1), ("t", -1, 0, 1), ("t", 0, -1, 1), ("t", 0, 5, 5), ("t", 0, 0, COUNT_MAX + 1)],
)
def test_ranges_that_cannot_be_are_refused(
    topic: str, partition: int, first: int, upto: int
) -> None:
    """A part has a topic id, a partition and a range of offsets with something in it."""
    with pytest.raises(InvalidInput):
        PartitionDeltas(topic, partition, first, upto, {})
