"""A group that reads topics of its own, one worker of it at a time."""

import time

from kafka import KafkaAdminClient, KafkaProducer, TopicPartition

from consumer.errors import StreamUnavailable
from consumer.kafka.stream import KafkaStream
from consumer.settings.sections import BatchSettings, KafkaSettings
from policy_state.store.redis.store import RedisStore
from tests.support.memory.store import MemoryStore
from tests.support.topics import create_topics

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
