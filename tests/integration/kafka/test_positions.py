"""From where a group reads, on a real Kafka: nothing is skipped or read twice without a word."""

import logging
import re
import time
from collections.abc import Callable, Iterator

import pytest
from kafka import KafkaAdminClient, KafkaProducer, TopicPartition

from consumer.errors import StreamUnavailable
from consumer.kafka.stream import KafkaStream
from consumer.settings.sections import BatchSettings, KafkaSettings
from deploy.local.services import start_kafka, start_redis
from policy_state.store.redis.store import RedisStore
from tests.support.long_form import IS_LONG
from tests.support.memory.store import MemoryStore
from tests.support.topics import create_topics
from tests.support.waiting import wait_for

SECONDS = 40
AT_ONCE = BatchSettings(max_wait_ms=0)


class Group:
    """A group on the topics `<prefix>.<name>`, one worker of it at a time."""

    def __init__(self, kafka: str, store: MemoryStore | RedisStore) -> None:
        self.kafka = kafka
        self.store = store
        self.prefix = f"p{time.time_ns()}"
        self.topics = rf"^{self.prefix}\."
        self.admin = KafkaAdminClient(bootstrap_servers=kafka)
        self.stream: KafkaStream | None = None

    def start(self, start: str = "latest", topics: str | None = None) -> KafkaStream:
        settings = KafkaSettings(
            bootstrap_servers=self.kafka,
            group=self.prefix,
            start=start,
            metadata_max_age_s=1,
            session_timeout_s=6,
        )
        self.stream = KafkaStream(
            settings, instance="a", topics=topics or self.topics, store=self.store
        )
        return self.stream

    def stop(self) -> None:
        if self.stream is not None:
            self.stream.positions.keep_up(insist=True)
            self.stream.close()
            self.stream = None

    def close(self) -> None:
        self.stop()
        self.admin.close()

    def create(self, name: str, partitions: int = 1) -> None:
        create_topics(self.kafka, {f"{self.prefix}.{name}": partitions})

    def tp(self, name: str, partition: int = 0) -> TopicPartition:
        return TopicPartition(f"{self.prefix}.{name}", partition)

    def write(self, name: str, *values: str, partition: int = 0) -> None:
        topic, number = self.tp(name, partition)
        producer = KafkaProducer(bootstrap_servers=self.kafka, acks="all", metadata_max_age_ms=200)
        deadline = time.monotonic() + SECONDS
        while number not in (producer.partitions_for(topic) or ()):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        for value in values:
            producer.send(topic, value.encode(), partition=number).get(30)
        producer.close()

    def read(self, upto: int, *, idle_s: float = 1.0) -> list[str]:
        """Return the values of so many records, commit them, and see that no more come."""
        assert self.stream is not None
        found: list[str] = []
        deadline = time.monotonic() + SECONDS
        enough = None
        while enough is None or time.monotonic() < enough + idle_s:
            assert time.monotonic() < deadline, f"{len(found)} of {upto} records: {found}"
            try:
                if (batch := self.stream.collect(AT_ONCE)) is not None:
                    self.stream.commit(batch, [], before_commit=lambda: None)
                    found += [(record.value or b"").decode() for record in batch.records]
            except StreamUnavailable:
                self.stream.rewind([])
            if len(found) >= upto and enough is None and self.stream.assigned():
                enough = time.monotonic()
        return found

    def forget_offsets(self, *partitions: TopicPartition) -> None:
        """Delete what is committed, as Kafka does after `offsets.retention.minutes`.

        A worker that was stopped counts as subscribed until its session is over.
        """
        deadline = time.monotonic() + SECONDS
        while any(
            e.errno for e in self.admin.delete_group_offsets(self.prefix, partitions).values()
        ):
            assert time.monotonic() < deadline
            if self.stream is not None:
                self.read(0, idle_s=0.5)  # a rebalance that is not over yet ends
            else:
                time.sleep(0.5)


@pytest.fixture
def make_group(kafka: str) -> Iterator[Callable[..., Group]]:
    groups: list[Group] = []

    def make(store: MemoryStore | RedisStore | None = None) -> Group:
        groups.append(Group(kafka, store or MemoryStore()))
        return groups[-1]

    yield make
    for group in groups:
        group.close()


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Callable[[str], list[str]]:
    """Return what returns the messages that match."""
    caplog.set_level(logging.INFO, "offramp.stream")
    return lambda pattern: [m for m in caplog.messages if re.search(pattern, m)]


def test_latest_skips_what_was_there_when_the_group_began_and_nothing_else(make_group):
    """New partitions, new topics and topics of a new route are read from their first record."""
    group = make_group()
    group.create("films")
    group.write("films", "old")
    group.start()
    assert group.read(0) == []
    group.write("films", "1")
    assert group.read(1) == ["1"]

    group.admin.create_partitions({group.tp("films").topic: 2})
    group.create("hotels")
    group.write("films", "2", partition=1)
    group.write("hotels", "3")
    assert sorted(group.read(2)) == ["2", "3"]

    group.stop()
    group.create("shops")
    group.write("shops", "4")
    group.write("films", "5")
    group.start()
    assert sorted(group.read(2)) == ["4", "5"]


def test_a_group_begins_when_its_first_worker_starts_whatever_becomes_of_that(make_group):
    """Workers that start together or later begin where the first did, though it has read nothing.

    So does one that starts before there is any topic.
    """
    group, empty = make_group(), make_group()
    group.create("films", 2)
    group.write("films", "old")
    group.start().close()
    group.write("films", "1")
    group.write("films", "2", partition=1)
    group.start()
    assert sorted(group.read(2)) == ["1", "2"]

    empty.start()
    empty.create("films")
    empty.write("films", "1")
    assert empty.read(1) == ["1"]


def test_a_group_from_before_its_beginning_was_noted_goes_on(make_group):
    """One that has committed anything has begun, also where the store is a new one."""
    group = make_group()
    group.create("films", 2)
    group.start("earliest")
    group.write("films", "1")
    assert group.read(1) == ["1"]
    group.stop()
    group.store = MemoryStore()
    group.write("films", "2", partition=1)
    group.start("latest")
    assert group.read(1) == ["2"]


@pytest.mark.parametrize("start", ["earliest", "latest"])
def test_what_retention_took_of_a_group_that_stood_still_is_counted(make_group, said, start):
    """It goes on at the first record that is left, and a warning says how many are gone."""
    group = make_group()
    group.create("films")
    group.start(start)
    assert group.read(0) == []
    group.write("films", "0")
    assert group.read(1) == ["0"]
    group.stop()
    group.write("films", *map(str, range(1, 10)))
    group.admin.delete_records({group.tp("films"): 7})
    group.start(start)
    assert group.read(3) == ["7", "8", "9"]
    assert len(said("retention deleted .* offsets=6 from=1 to=6$")) == 1


def test_what_is_read_ahead_outlives_its_log(make_group, said):
    """Retention that passes a slow worker takes what it has not read yet, and nothing it has."""
    group = make_group()
    group.create("films")
    stream = group.start()
    assert group.read(0) == []
    group.write("films", "0", "1", "2")
    while stream._buffer.events < 3:
        stream.keep_up(100)
    tp = group.tp("films")
    stream._member.consumer.pause(tp)
    stream._member.consumer.seek(tp, 3)
    group.write("films", *map(str, range(3, 8)))
    group.admin.delete_records({tp: 6})
    stream._member.consumer.seek(tp, 3)  # whatever was on its way is dropped
    assert group.read(5) == ["0", "1", "2", "6", "7"]
    assert said("retention deleted .* offsets=3 from=3 to=5$")


@pytest.mark.parametrize("start", ["earliest", "latest"])
def test_a_group_goes_on_where_it_was_after_kafka_forgot(make_group, said, start):
    """Offsets that have expired are taken from the store: nothing is read twice or skipped."""
    group = make_group()
    group.create("films", 2)
    group.start(start)
    assert group.read(0) == []
    group.write("films", "0", "1")
    group.write("films", "2", partition=1)
    assert sorted(group.read(3)) == ["0", "1", "2"]
    group.stop()
    group.write("films", "3")
    group.forget_offsets(group.tp("films", 0), group.tp("films", 1))
    group.start(start)
    assert group.read(1) == ["3"]
    assert said(r"films\[0\] offset=2, which redis has")
    committed = group.admin.list_group_offsets([group.prefix])[group.prefix]
    assert committed[group.tp("films", 1)].offset == 1, "and Kafka knows it again"


def test_a_topic_whose_route_comes_back_late_is_read_on(make_group):
    """Its offsets expire while the group goes on without it; a topic made anew begins anew."""
    group = make_group()
    group.create("films")
    group.create("hotels")
    stream = group.start("earliest")
    group.write("films", "0", "1")
    group.write("hotels", "2")
    assert sorted(group.read(3)) == ["0", "1", "2"]
    stream.subscribe(rf"^{group.prefix}\.hotels$")
    deadline = time.monotonic() + SECONDS
    while any("films" in place for place in stream.assigned()):
        assert time.monotonic() < deadline, f"still reads {stream.assigned()}"
        assert group.read(0) == []
    group.forget_offsets(group.tp("films"))
    group.write("films", "3")
    stream.subscribe(group.topics)
    assert group.read(1) == ["3"]
    group.stop()
    group.admin.delete_topics([group.tp("films").topic])
    wait_for(lambda: group.tp("films").topic not in group.admin.list_topics(), SECONDS)
    group.create("films")
    group.write("films", "4")
    group.start()
    assert group.read(1) == ["4"]


def test_what_nobody_knows_is_read_from_its_first_record_and_said(make_group, said):
    """Where Redis was emptied as well, records come again rather than never."""
    group = make_group()
    group.create("films")
    group.start("earliest")
    group.write("films", "0")
    assert group.read(1) == ["0"]
    group.stop()
    group.forget_offsets(group.tp("films"))
    group.store = MemoryStore()
    group.start("earliest")
    assert group.read(1) == ["0"]
    assert said(r"films\[0\] from its first record")


def test_a_new_partition_waits_for_redis_and_holds_up_no_other(make_group, said):
    """While Redis is away what has an offset in Kafka is read; the rest is when it is back."""
    with start_redis() as server, RedisStore(server.url, timeout_s=0.3) as store:
        group = make_group(store)
        group.create("films")
        group.start()
        group.write("films", "0")
        assert group.read(1) == ["0"]
        server.pause()
        group.create("hotels")
        group.write("hotels", "1")
        deadline = time.monotonic() + SECONDS
        while not said("waiting for redis"):
            assert time.monotonic() < deadline, "nothing is said of redis"
            assert group.read(0, idle_s=0.2) == []
        group.write("films", "2")
        assert group.read(1) == ["2"]
        server.resume()
        assert group.read(1) == ["1"]


@pytest.mark.skipif(not IS_LONG, reason="two minutes; `make chaos` runs it")
def test_a_group_goes_on_after_its_offsets_have_expired():
    """A real broker that keeps offsets for a minute: a group that stood still is not read twice."""
    expiry = {"offsets.retention.minutes": "1", "offsets.retention.check.interval.ms": "1000"}
    with start_kafka(settings=expiry) as server:
        group = Group(server.address, MemoryStore())
        group.create("films")
        group.start()
        assert group.read(0) == []
        group.write("films", "0")
        assert group.read(1) == ["0"]
        group.stop()
        wait_for(lambda: not group.admin.list_group_offsets([group.prefix])[group.prefix], 150)
        group.write("films", "1")
        group.start()
        assert group.read(1) == ["1"]
        group.close()
