"""Members that the group lets go, on a real broker."""

import time

import pytest
from kafka import KafkaProducer

from consumer.errors import StreamUnavailable
from consumer.kafka_stream import Batch, KafkaStream
from consumer.settings import BatchSettings, KafkaSettings
from consumer.topics import create_topics
from consumer.transactions import Outgoing
from demo.fleet import read_all

EVENTS = 20
SESSION_S = 6
AT_ONCE = BatchSettings(max_wait_ms=0)


class Members:
    """Streams of one group on a topic that has one partition."""

    def __init__(self, kafka: str) -> None:
        self.topic = f"m{time.time_ns()}"
        self.out = f"{self.topic}-out"
        create_topics(kafka, {self.topic: 1, self.out: 1})
        self.settings = KafkaSettings(
            bootstrap_servers=kafka, group=self.topic, session_timeout_s=SESSION_S
        )
        self.streams: list[KafkaStream] = []

    def join(self, instance: str) -> KafkaStream:
        stream = KafkaStream(self.settings, instance=instance, topics=f"{self.topic}$")
        self.streams.append(stream)
        return stream

    def copy(self, stream: KafkaStream, upto: int) -> None:
        """Copy batches until so many records are in the output."""
        deadline = time.monotonic() + 40
        while len(read_all(self.settings.bootstrap_servers, self.out)) < upto:
            assert time.monotonic() < deadline
            batch = stream.collect(AT_ONCE)
            if batch is not None:
                self.commit(stream, batch)

    def commit(self, stream: KafkaStream, batch: Batch) -> None:
        outgoing = [
            Outgoing(self.out, r.key, b"%d" % r.offset, (), r.partition) for r in batch.records
        ]
        stream.commit(batch, outgoing, before_commit=lambda: None)


@pytest.fixture
def members(kafka):
    members = Members(kafka)
    yield members
    for stream in members.streams:
        stream.close()


def produce(members: Members) -> None:
    producer = KafkaProducer(bootstrap_servers=members.settings.bootstrap_servers, acks="all")
    for i in range(EVENTS):
        producer.send(members.topic, b"x", key=str(i).encode())
    producer.flush(timeout=30)
    producer.close()


def test_a_member_let_go_while_it_joins_does_not_commit_again_what_others_did(members):
    """What it had read before is forgotten, even where the partition comes back to it.

    kafka-python tells no listener when the group lets a member go that is joining already.
    """
    frozen = members.join("frozen")
    deadline = time.monotonic() + 30
    while not frozen.assigned() and time.monotonic() < deadline:
        frozen.keep_up(100)
    produce(members)
    while frozen._buffer.events < EVENTS and time.monotonic() < deadline:
        frozen.keep_up(100)
    assert frozen._buffer.events == EVENTS
    under_way = frozen.collect(AT_ONCE.model_copy(update={"max_events": EVENTS // 2}))

    frozen._consumer._coordinator._disable_heartbeat()  # as if the process stood still
    other = members.join("other")
    members.copy(other, EVENTS)
    other.close()
    frozen._consumer._coordinator.request_rejoin()  # a heartbeat told of the other just before
    begun = time.monotonic()
    while time.monotonic() < begun + SESSION_S + 4 or not frozen.assigned():
        frozen.keep_up(100)  # until the other has been let go as well
    produce(members)
    members.copy(frozen, 2 * EVENTS)
    with pytest.raises(StreamUnavailable, match="membership"):  # not fenced: it was itself
        members.commit(frozen, under_way)
    frozen.rewind([under_way])
    produce(members)
    members.copy(frozen, 3 * EVENTS)
    copied = read_all(members.settings.bootstrap_servers, members.out)
    assert copied == list(range(3 * EVENTS))
