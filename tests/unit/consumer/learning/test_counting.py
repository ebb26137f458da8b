"""Counting a batch: each text once, also where batches were cut otherwise before."""

import time

import pytest

from consumer.events.record import Event, Prediction, Record
from consumer.learning.counter import Counting
from policy_state.errors import PolicyNotFound, StoreUnavailable
from policy_state.store.values import PolicyMeta
from tests.support.memory.store import MemoryStore


@pytest.fixture
def store():
    return MemoryStore()


@pytest.fixture
def opened(store):
    return store.open(PolicyMeta(name="default", fingerprint="f", layers=(1, 2, 3)))


@pytest.fixture
def counting(store, opened):
    return Counting(store, opened, by="w")


def batch(topic, partition, offsets, *, domain="films", topic_id=None):
    records = [
        Record(topic, partition, o, 0, None, b"x", topic_id=topic_id or f"id-{topic}")
        for o in offsets
    ]
    predictions = [
        Prediction(Event(r, "i", "x", domain, 0, "out"), 1, "", 1.0, 1, 2, (0, 1), False, "f")
        for r in records
    ]
    return records, predictions, {domain: 0}


def texts(store, domain="films"):
    return store.read([domain])[domain].stats.texts


def test_a_batch_over_several_partitions_and_domains_is_counted(store, counting):
    """Every text adds to its own domain, and the answer is remembered."""
    first, second = batch("a", 0, range(5)), batch("b", 1, range(3), domain="hotels")
    counting.count(first[0] + second[0], first[1] + second[1], {})
    assert (texts(store), texts(store, "hotels")) == (5, 3)
    assert counting.known.current({"films"})["films"].stats.disagreed == (0, 5, 0)


def test_a_repeated_batch_counts_nothing(store, counting):
    """After a crash between counting and committing the same records come again."""
    for _ in range(3):
        counting.count(*batch("a", 0, range(5)))
    assert texts(store) == 5


def test_an_overlapping_batch_counts_what_is_new(store, counting):
    """Batches cut otherwise the second time: only the offsets behind the watermark count."""
    counting.count(*batch("a", 0, range(5)))
    counting.count(*batch("a", 0, range(3, 9)))
    assert texts(store) == 9


def test_dead_letters_move_the_watermark_without_counting(store, counting):
    """Records that became no text are passed over, once and for all."""
    records, predictions, epochs = batch("a", 0, range(6))
    counting.count(records, predictions[:2], epochs)
    assert texts(store) == 2
    counting.count(records, predictions, epochs)
    assert texts(store) == 2


def test_offsets_left_out_are_told(counting):
    """What lies between two batches of a partition is a gap; before its first batch it is not."""
    counting.count(*batch("a", 0, range(100, 105)))
    assert counting.gap_offsets == 0
    counting.count(*batch("a", 0, range(107, 109)))
    counting.count(*batch("a", 1, range(3)))
    assert counting.gap_offsets == 2


def test_a_recreated_topic_is_counted_from_its_start(store, opened):
    """Another topic id is another source, although name and offsets are the same."""
    for topic_id in ("one", "two"):
        counting = Counting(store, opened, by="w")
        counting.count(*batch("a", 0, range(5), topic_id=topic_id))
    assert texts(store) == 10


class LeavingStore(MemoryStore):
    """A store that can be away."""

    away = False

    def apply(self, *args, **options):
        if self.away:
            raise StoreUnavailable("away", cause="connection")
        return super().apply(*args, **options)


@pytest.fixture
def leaving():
    """Return a store that can be away, and what counts there."""
    store = LeavingStore()
    opened = store.open(PolicyMeta(name="default", fingerprint="f", layers=(1, 2, 3)))
    return store, Counting(store, opened, by="w")


def await_store(counting):
    deadline = time.monotonic() + 10
    while counting.known.away and time.monotonic() < deadline:
        time.sleep(0.05)


@pytest.mark.parametrize("known", [False, True], ids=["sent", "held"])
def test_a_batch_read_again_in_an_outage_counts_what_is_new(leaving, known):
    """Texts counted before, read again and held: what others have counted of them is cut off."""
    store, counting = leaving
    counting.count(*batch("a", 0, range(100, 200)))  # and its transaction is aborted
    store.away = True
    if known:  # then nothing more is sent
        counting.count(*batch("b", 0, range(1), domain="hotels"))
    counting.count(*batch("a", 0, range(100, 260)))
    store.away = False
    await_store(counting)
    counting.count(*batch("a", 0, range(100, 260)))  # that transaction was aborted, too
    counting.committed()
    counting.count(*batch("a", 0, range(260, 300)))
    assert texts(store) == 100 + 60 + 40
    assert store.watermarks()["id-a/0"].gaps == ((0, 100),)


def test_a_batch_whose_commit_fails_takes_nothing_along_that_was_held_before_it(leaving):
    """Cut from Kafka in a commit while Redis is away: what was committed before it is counted."""
    store, counting = leaving
    store.away = True
    for first in range(0, 100, 10):
        counting.count(*batch("a", 0, range(first, first + 10)))
        counting.committed()
    counting.count(*batch("a", 0, range(100, 150)))  # in whose commit it is cut off
    store.away = False
    other = Counting(store, store.open(store.describe().meta), by="w")
    other.count(*batch("a", 0, range(100, 130)))  # has the partition now
    other.count(*batch("a", 0, range(130, 170)))
    await_store(counting)
    assert counting.flush(insist=True)
    assert texts(store) == 170
    assert store.watermarks()["id-a/0"].gaps == ()


def test_offsets_without_a_text_are_no_gaps(store, counting):
    """Markers, aborted records and whatever is not given out belong to the batch after them."""
    key = ("id-a", 0)
    for first in range(0, 5_000, 100):
        counting.count(*batch("a", 0, range(first + 99, first + 100)), begins={key: first})
    assert counting.gap_offsets == 0
    assert store.watermarks()["id-a/0"].gaps == ()
    assert texts(store) == 50


class EmptiedStore(MemoryStore):
    """A store that somebody empties before each of some calls."""

    emptied = 0

    def apply(self, *args, **options):
        if self.emptied:
            self.emptied -= 1
            raise PolicyNotFound("gone")
        return super().apply(*args, **options)


@pytest.mark.parametrize("times", [1, 2, 3, 20])
def test_a_store_that_is_emptied_again_and_again_ends_no_worker(times):
    """The policy is created anew as often as it takes; what was learnt is held meanwhile."""
    store = EmptiedStore()
    opened = store.open(PolicyMeta(name="default", fingerprint="f", layers=(1, 2, 3)))
    counting = Counting(store, opened, by="w")
    store.emptied = times
    counting.count(*batch("a", 0, range(5)))
    deadline = time.monotonic() + 30
    while not counting.flush() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert texts(store) == 5


def test_a_reset_after_a_drift_names_who_has_seen_it(store, opened):
    """Hosts and workers share the counters: the audit says which of them began a domain anew."""
    counting = Counting(store, opened, by="host-1")
    for step in range(40):
        records, predictions, epochs = batch("a", 0, range(step * 500, step * 500 + 500))
        if step < 30:
            predictions = [p._replace(exit_labels=(0, 0)) for p in predictions]
        counting.count(records, predictions, epochs)
        counting.committed()
    (entry,) = [e for e in store.audit() if e.action == "reset"]
    assert (entry.by, entry.automatic) == ("host-1", True)
