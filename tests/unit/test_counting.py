"""Counting a batch: each text once, also where batches were cut otherwise before."""

import time

import pytest

from consumer.counting import Counting
from consumer.records import Event, Prediction, Record
from policy_state.backends.memory import MemoryStore
from policy_state.errors import StoreUnavailable
from policy_state.store import PolicyMeta


@pytest.fixture
def store():
    return MemoryStore()


@pytest.fixture
def opened(store):
    return store.open(PolicyMeta(name="default", fingerprint="f", layers=(1, 2, 3)))


@pytest.fixture
def counting(store, opened):
    return Counting(store, opened, topic_id=lambda topic: f"id-{topic}")


def batch(topic, partition, offsets, *, domain="films", labels=(0, 1)):
    records = [Record(topic, partition, o, 0, None, b"x") for o in offsets]
    predictions = [
        Prediction(
            Event(r, "i", "x", domain, 0, "out"), labels[-1], "", 1.0, 1, 2, labels, False, "f"
        )
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
    assert counting.current({"films"})["films"].stats.disagreed == (0, 5, 0)


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
        counting = Counting(store, opened, topic_id=lambda _, i=topic_id: i)
        counting.count(*batch("a", 0, range(5)))
    assert texts(store) == 10


class LeavingStore(MemoryStore):
    """A store that can be away."""

    away = False

    def apply(self, *args, **options):
        if self.away:
            raise StoreUnavailable("away", cause="connection")
        return super().apply(*args, **options)


@pytest.mark.parametrize("known", [False, True], ids=["sent", "joined"])
def test_what_an_outage_mixes_up_is_lost_aloud_and_the_rest_is_counted(known):
    """Texts counted before, read again and held: those that cannot be told apart are a gap."""
    store = LeavingStore()
    opened = store.open(PolicyMeta(name="default", fingerprint="f", layers=(1, 2, 3)))
    counting = Counting(store, opened, topic_id=lambda topic: f"id-{topic}")
    counting.count(*batch("a", 0, range(100, 200)))  # and its transaction is aborted
    store.away = True
    if known:  # then nothing more is sent, and parts that follow each other are joined
        counting.count(*batch("b", 0, range(1), domain="hotels"))
    counting.count(*batch("a", 0, range(100, 260)))
    store.away = False
    deadline = time.monotonic() + 10
    while counting.away and time.monotonic() < deadline:
        time.sleep(0.05)
    counting.count(*batch("a", 0, range(260, 300)))
    assert texts(store) == 100 + 40
    assert counting.lost_texts >= 60
    assert counting.gap_offsets == 60
