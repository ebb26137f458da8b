"""A topic that is deleted and made anew at once: all of it is read and counted; on a real Kafka."""

import os
import signal
import time
from collections import Counter
from contextlib import contextmanager

import pytest
from kafka import KafkaAdminClient, TopicPartition
from kafka.structs import OffsetAndMetadata

from consumer.errors import StreamUnavailable
from consumer.kafka.group.offsets import group_offsets, partition_lag, to_commit
from consumer.learning.prediction_log import PredictionLog
from policy_state.reports.domain import read_reports
from policy_state.store.offsets import Counted
from policy_state.store.redis.store import RedisStore
from tests.support.kafka_admin import make_anew, set_offsets
from tests.support.kafka_records import good, ids, read_topic, send
from tests.support.long_form import IS_LONG
from tests.support.members import AT_ONCE, EVENTS, produce, read_until
from tests.support.memory.positions import MemoryPositions
from tests.support.topics import create_topics
from tests.support.waiting import wait_for

OLD, NEW, BUSY = 600, 1050, 100


class Remade:
    """An input topic with a worker on it, and what is known of the topic's ids."""

    def __init__(self, kafka, tmp_path, monkeypatch):
        name = f"r{time.time_ns()}"
        self.kafka = kafka
        self.topic, self.out, self.dead = f"{name}.in", f"{name}.out", f"{name}.dead"
        self.group = name
        self.hold = tmp_path / "hold"
        monkeypatch.setenv("HOLD", os.fspath(self.hold))
        create_topics(kafka, {self.topic: 1, self.out: 1, self.dead: 1})
        self.settings = {
            "KAFKA__GROUP": self.group,
            "KAFKA__DEAD_LETTERS": self.dead,
            "ROUTES": f'[{{"topics": "{self.topic}", "output": "{self.out}"}}]',
        }

    def make_anew(self):
        """Return the ids before and after."""
        with KafkaAdminClient(bootstrap_servers=self.kafka) as admin:
            return make_anew(admin, self.topic)

    def answered(self, count):
        """Wait for so many answers; say how many each id has."""
        return Counter(ids(self.kafka, self.out, want=count))


@pytest.fixture
def remade(kafka, tmp_path, monkeypatch):
    """Return a topic of its own."""
    return Remade(kafka, tmp_path, monkeypatch)


@contextmanager
def nobody(remade, start, worker):
    """Have no worker there meanwhile."""
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(30) == 0
    yield
    start(remade.kafka, **remade.settings)


@contextmanager
def frozen(remade, start, worker):
    """Have the worker stand still meanwhile."""
    worker.send_signal(signal.SIGSTOP)
    yield
    worker.send_signal(signal.SIGCONT)


@contextmanager
def busy(remade, start, worker):
    """Have the worker in the middle of a batch of the old topic meanwhile."""
    remade.hold.touch()
    send(remade.kafka, remade.topic, good(BUSY, first=50_000))
    wait_for(remade.held)
    yield
    remade.hold.unlink()


@pytest.mark.parametrize("meanwhile", [frozen, busy, nobody])
def test_all_of_a_topic_made_anew_is_answered_and_counted(
    remade, start, redis_url, kafka, meanwhile
):
    """Also where it is longer than the old position, and the worker had no chance to see it go."""
    worker, log = start(kafka, **remade.settings)
    remade.held = lambda: "holds" in log()
    send(kafka, remade.topic, good(OLD))
    assert len(remade.answered(OLD)) == OLD, log()
    with meanwhile(remade, start, worker):
        before, after = remade.make_anew()
        send(kafka, remade.topic, good(NEW, first=OLD))
    everything = {f"e{i}" for i in range(OLD + NEW)}
    found = wait_for(lambda: (got := remade.answered(OLD + NEW)).keys() >= everything and got, 30)
    assert set(found.values()) == {1}, log()
    with RedisStore(redis_url) as store:
        read_reports(store, "default")
        wait_for(lambda: store.watermarks().get(f"{after}/0") == Counted(NEW), 20)
        before_counted = store.watermarks()[f"{before}/0"]
        assert OLD <= before_counted.upto <= OLD + BUSY
        assert before_counted.gaps == ()
        assert store.totals().stats.texts == before_counted.upto + NEW


def test_outputs_that_are_made_anew_at_once_are_written_to(remade, start, kafka, admin):
    """By a worker that had no chance to see them go, too; what comes next is in the new ones."""
    worker, log = start(kafka, **remade.settings)
    bad = [(b"k", b"\xff")]
    send(kafka, remade.topic, [*good(50), *bad])
    assert len(remade.answered(50)) == 50, log()
    wait_for(lambda: read_topic(kafka, remade.dead, want=1))
    with frozen(remade, start, worker):
        make_anew(admin, remade.out)
        make_anew(admin, remade.dead)
        send(kafka, remade.topic, [*good(50, first=50), *bad])
    assert remade.answered(50) == {f"e{i}": 1 for i in range(50, 100)}, log()
    (letter,) = read_topic(kafka, remade.dead, want=1)
    said = {name: value.decode() for name, value in letter.headers}
    topic_id = str(admin.describe_topics([remade.topic])[0]["topic_id"])
    assert said["offramp.error.topic_id"] == topic_id
    assert said["offramp.error.offset"] == "101"


@pytest.fixture
def admin(kafka):
    """Return a client."""
    with KafkaAdminClient(bootstrap_servers=kafka) as client:
        yield client


def test_a_batch_of_a_topic_that_was_made_anew_is_given_back(members, admin):
    """Nothing of it is committed, and what comes next is the new topic from its first record."""
    stream = members.join("a")
    produce(members)
    read_until(stream, lambda: stream._buffer.events == EVENTS)
    old = stream.collect(AT_ONCE)
    before, after = make_anew(admin, members.topic)
    produce(members, EVENTS * 2)
    read_until(stream, lambda: stream._member.topic_id(members.topic) == after)
    with pytest.raises(StreamUnavailable, match="deleted and created again"):
        members.commit(stream, old)
    stream.rewind([old])
    read_until(stream, lambda: stream._buffer.events == EVENTS * 2)
    new = stream.collect(AT_ONCE)
    members.commit(stream, new)
    assert [(r.topic_id, r.offset) for r in old.records] == [(before, i) for i in range(EVENTS)]
    assert [(r.topic_id, r.offset) for r in new.records] == [(after, i) for i in range(EVENTS * 2)]
    assert [r.value for r in read_topic(members.kafka, members.out, want=EVENTS * 2)] == [
        str(i).encode() for i in range(EVENTS, EVENTS * 3)
    ]


def test_a_partition_in_doubt_is_read_on_where_it_was_if_its_topic_is_the_same(members):
    """As where a leader has not heard of it yet: what is under way is not read a second time."""
    stream = members.join("a")
    produce(members)
    read_until(stream, lambda: stream._buffer.events == EVENTS)
    under_way = stream.collect(AT_ONCE)
    stream._member.start.topics.doubt(TopicPartition(members.topic, 0))
    produce(members)
    read_until(stream, lambda: stream._buffer.events == EVENTS)
    following = stream.collect(AT_ONCE)
    assert [r.offset for r in following.records] == list(range(EVENTS, 2 * EVENTS))
    members.commit(stream, under_way)
    members.commit(stream, following)


@pytest.mark.skipif(not IS_LONG, reason="half a minute; `make chaos` runs it")
def test_a_topic_may_be_gone_just_when_it_is_to_be_read(members, admin):
    """That ends nobody; where it comes back it is read from its first record."""
    stream = members.join("a")
    produce(members)
    read_until(stream, lambda: stream._buffer.events == EVENTS)
    members.commit(stream, stream.collect(AT_ONCE))
    admin.delete_topics([members.topic])
    wait_for(lambda: members.topic not in admin.list_topics())
    stream.stand_still(frozenset({(members.topic, 0)}))
    stream.stand_still(frozenset())
    for _ in range(20):
        stream.keep_up(100)
    create_topics(members.kafka, {members.topic: 1})
    produce(members, EVENTS * 2)
    read_until(stream, lambda: stream._buffer.events == EVENTS * 2)


@pytest.mark.parametrize("of_the_old", [True, False])
def test_an_offset_that_was_committed_for_the_topic_before_is_nobodys(members, admin, of_the_old):
    """A commit that came late may be there: workers, lag and rebuilding pass it over.

    One that tells no topic's id, as Kafka's own tools set it, is of the topic that there is.
    """
    before, after = make_anew(admin, members.topic)
    produce(members)
    tp = TopicPartition(members.topic, 0)
    late = to_commit(EVENTS - 5, before) if of_the_old else OffsetAndMetadata(EVENTS - 5, "", -1)
    set_offsets(admin, members.settings.group, {tp: late})
    left = EVENTS if of_the_old else 5
    lag = partition_lag(admin, members.settings, [members.topic], MemoryPositions().positions)
    assert lag[tp].behind == left
    with PredictionLog(members.settings, [members.out], fingerprint="f", exits=3) as predicted:
        found = {} if of_the_old else {(after, 0): EVENTS - 5}
        assert group_offsets(predicted.admin, members.settings.group, predicted.ids) == found
    stream = members.join("a")
    read_until(stream, lambda: stream._buffer.events)
    batch = stream.collect(AT_ONCE)
    assert [r.offset for r in batch.records] == list(range(EVENTS - left, EVENTS))
