"""Members of one group, without a worker around them: each copies what it reads."""

import time
from contextlib import suppress

from kafka import KafkaProducer

from consumer.errors import StreamUnavailable
from consumer.events.outgoing import Outgoing
from consumer.kafka.reading.batch import Batch
from consumer.kafka.stream import KafkaStream
from consumer.settings.sections import BatchSettings, KafkaSettings
from tests.support.kafka_records import committed_records
from tests.support.memory.positions import MemoryPositions
from tests.support.topics import create_topics

EVENTS = 20
SESSION_S = 6
AT_ONCE = BatchSettings(max_wait_ms=0)


class Members:
    """Streams of one group on a topic."""

    def __init__(
        self, kafka: str, *, partitions: int = 1, bootstrap: str | None = None, **settings
    ) -> None:
        self.kafka = kafka
        self.topic = f"m{time.time_ns()}"
        self.out = f"{self.topic}-out"
        create_topics(kafka, {self.topic: partitions, self.out: 1})
        settings = {"session_timeout_s": SESSION_S, **settings}
        self.settings = KafkaSettings(
            bootstrap_servers=bootstrap or kafka, group=self.topic, **settings
        )
        self.streams: list[KafkaStream] = []
        self.produced = 0

    def join(self, instance: str, reached=lambda _: None) -> KafkaStream:
        stream = KafkaStream(
            self.settings,
            instance=instance,
            topics=f"{self.topic}$",
            store=MemoryPositions(),
            reached=reached,
        )
        self.streams.append(stream)
        return stream

    def close(self) -> None:
        for stream in self.streams:
            stream.close()

    def copy(self, stream: KafkaStream, upto: int) -> None:
        """Copy batches, again where that fails, until so many records are in the output."""
        deadline = time.monotonic() + 60
        while len(self.copied()) < upto:
            assert time.monotonic() < deadline
            batch = None
            try:
                batch = stream.collect(AT_ONCE)
                if batch is not None:
                    self.commit(stream, batch)
            except StreamUnavailable:
                with suppress(StreamUnavailable):
                    stream.rewind([] if batch is None else [batch])

    def copied(self) -> list[int]:
        """Return the numbers in the output."""
        return [int(record.value) for record in committed_records(self.kafka, self.out)]

    def commit(self, stream: KafkaStream, batch: Batch) -> None:
        outgoing = [Outgoing(self.out, r.key, r.value, (), r.partition) for r in batch.records]
        stream.commit(batch, outgoing, before_commit=lambda: None)


def produce(members: Members, events: int = EVENTS, *, partition: int | None = None) -> None:
    """Write so many records; their values count on from the last ones."""
    producer = KafkaProducer(bootstrap_servers=members.kafka, acks="all")
    for number in range(members.produced, members.produced + events):
        value = str(number).encode()
        producer.send(members.topic, value, key=value, partition=partition)
    members.produced += events
    producer.flush(timeout=30)
    producer.close()


def read_until(stream, condition, timeout_s=30):
    """Let a stream read ahead until something is so."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        stream.keep_up(100)
