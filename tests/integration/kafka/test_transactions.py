"""Transactions on a real broker: all or nothing, and nothing left behind by a failed one."""

import time
from contextlib import closing

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.structs import OffsetAndMetadata

from consumer.errors import StreamUnavailable, WorkerFenced
from consumer.events.outgoing import Outgoing
from consumer.kafka.writing.transactions import Transactions
from demo.fleet import read_all
from deploy.local.services import start_kafka
from tests.support.topics import create_topics


class Group:
    """A topic, a consumer that has joined a group on it, and writers of that group."""

    def __init__(self, kafka: str) -> None:
        self.kafka = kafka
        self.name = f"x{time.time_ns()}"
        self.out = f"{self.name}-out"
        create_topics(kafka, {self.name: 2, self.out: 1})
        self.consumer = KafkaConsumer(
            self.name,
            bootstrap_servers=kafka,
            group_id=self.name,
            enable_auto_commit=False,
            isolation_level="read_committed",
        )
        deadline = time.monotonic() + 30
        while len(self.consumer.assignment()) < 2 and time.monotonic() < deadline:
            self.consumer.poll(timeout_ms=500)
        self.membership = self.consumer.group_metadata()
        self.writers: list[Transactions] = []

    def writer(self, name: str = "w", *, timeout_s=20, reached=lambda _: None) -> Transactions:
        self.writers.append(
            Transactions(
                {"bootstrap_servers": self.kafka.split(",")},
                f"{self.name}-{name}",
                timeout_s=timeout_s,
                reached=reached,
            )
        )
        return self.writers[-1]

    def commit(self, writer, partition, offset, *, membership=None, before=None):
        writer.commit(
            [Outgoing(self.out, b"k", b"{}", (), partition)],
            {TopicPartition(self.name, partition): OffsetAndMetadata(offset, "", -1)},
            membership or self.membership,
            before_commit=before or (lambda: None),
        )

    def committed(self, partition):
        return self.consumer.committed(TopicPartition(self.name, partition), timeout_ms=20_000)

    def close(self) -> None:
        for writer in self.writers:
            writer.close()
        self.consumer.close()


@pytest.fixture
def group(kafka):
    group = Group(kafka)
    yield group
    group.close()


def test_offsets_refused_for_their_generation_are_not_sent_later(group):
    """A batch that the group has moved past leaves no offset for a later transaction to commit."""
    writer = group.writer()
    stale = group.membership._replace(generation_id=group.membership.generation_id - 1)
    with pytest.raises(StreamUnavailable, match="IllegalGeneration"):
        group.commit(writer, 0, 50, membership=stale)
    writer.recover()
    group.commit(writer, 1, 7)
    assert (group.committed(0), group.committed(1)) == (None, 7)
    assert len(read_all(group.kafka, group.out)) == 1


def test_a_failure_before_the_commit_commits_nothing(group):
    """Where counters fail, neither records nor offsets are seen; the next batch continues."""
    writer = group.writer()

    def fail():
        raise OSError("store")

    with pytest.raises(OSError, match="store"):
        group.commit(writer, 0, 50, before=fail)
    writer.recover()
    group.commit(writer, 0, 3)
    assert group.committed(0) == 3
    assert len(read_all(group.kafka, group.out)) == 1


def test_a_second_writer_of_the_same_name_fences_the_first(group):
    """A worker that was replaced cannot commit any more, and is told so."""
    first = group.writer()
    group.commit(first, 0, 1)
    second = group.writer()
    with pytest.raises(WorkerFenced):
        group.commit(first, 0, 2)
    group.commit(second, 0, 3)
    assert group.committed(0) == 3


def test_a_new_writer_ends_what_its_predecessor_left_open(group):
    """A worker that died inside a transaction blocks no reader once it is back."""
    dead = group.writer()

    def die():
        raise SystemExit

    with pytest.raises(SystemExit):
        group.commit(dead, 0, 5, before=die)
    group.writer()
    assert group.committed(0) is None
    assert read_all(group.kafka, group.out) == []


def test_no_step_waits_longer_than_its_limit_for_a_broker_that_says_nothing():
    """Whatever step a frozen broker meets, the worker is told in time and continues afterwards."""
    limit_s = 3
    with start_kafka() as server:
        group = Group(server.address)
        for place, frozen_at in enumerate(("write", "offsets", "commit")):
            freeze = {frozen_at: server.pause}
            writer = group.writer(
                frozen_at,
                timeout_s=limit_s,
                reached=lambda step, freeze=freeze: freeze.pop(step, lambda: None)(),
            )
            begun = time.monotonic()
            try:
                with pytest.raises(StreamUnavailable, match=f"{limit_s}"):
                    group.commit(writer, 0, place + 1)
                assert time.monotonic() - begun < 2 * limit_s
            finally:
                server.resume()
            writer.recover()
            group.commit(writer, 1, place + 1)
            assert group.committed(1) == place + 1
        group.close()


def test_many_records_lie_where_the_client_itself_would_put_them_and_in_order(kafka):
    """Keys find the partitions of any other client, whole batches over; no key: by the source's."""
    name = f"x{time.time_ns()}"
    create_topics(kafka, {name: 3})
    keys = [f"k{n}".encode() for n in range(40)]
    values = {key: [b"%d" % n + b"x" * 150 for n in range(40)] for key in keys}
    sent = [Outgoing(name, key, values[key][n], (), 7) for n in range(40) for key in keys]
    sent += [Outgoing(name, None, b"lone", (), partition) for partition in (4, 1)]
    writer = Transactions(
        {"bootstrap_servers": kafka.split(",")}, name, timeout_s=20, reached=lambda _: None
    )
    with closing(writer), closing(Group(kafka)) as group:
        offsets = {TopicPartition(group.name, 0): OffsetAndMetadata(1, "", -1)}
        writer.commit(sent, offsets, group.membership, before_commit=lambda: None)
    client = KafkaProducer(bootstrap_servers=kafka, acks="all")
    expected = {key: client.send(name, key=key, value=b"own").get(20).partition for key in keys}
    client.close()
    found: dict[bytes, tuple[bytes, ...]] = dict.fromkeys(keys, ())
    lone = []
    reader = KafkaConsumer(
        name,
        bootstrap_servers=kafka,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        consumer_timeout_ms=3000,
    )
    for row in reader:
        if row.key is None:
            lone.append(row.partition)
        elif row.value != b"own":
            assert row.partition == expected[row.key]
            found[row.key] += (row.value,)
    reader.close()
    assert {key: list(rows) for key, rows in found.items()} == values
    assert lone == [1, 1]
