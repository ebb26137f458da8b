"""Positions that are committed behind the last text: what is refused, and what is read on."""

import time

import pytest
from confluent_kafka import Producer
from kafka import KafkaAdminClient

from consumer.errors import StreamUnavailable
from tests.support.members import AT_ONCE, Members


@pytest.fixture
def two(kafka):
    """Streams of one group on a topic of two partitions, none of them joined."""
    members = Members(kafka, partitions=2)
    yield members
    members.close()


def write(members, partition, *values):
    """Write a transaction, so that a marker follows on the values."""
    producer = Producer(
        {"bootstrap.servers": members.kafka, "transactional.id": f"{members.topic}-w"}
    )
    producer.init_transactions(30)
    producer.begin_transaction()
    for value in values:
        producer.produce(members.topic, value, partition=partition)
    producer.commit_transaction(30)


def committed(members):
    """Return what is committed, by partition."""
    with KafkaAdminClient(bootstrap_servers=members.kafka) as admin:
        found = admin.list_group_offsets([members.topic])[members.topic]
    return {tp.partition: entry.offset for tp, entry in found.items() if entry.offset >= 0}


def passed(stream):
    """Read on until a stream has come behind the last text, and return what it passed."""
    deadline = time.monotonic() + 30
    while (batch := stream.passed()) is None:
        assert time.monotonic() < deadline
        assert stream.collect(AT_ONCE) is None
    return batch


def test_what_was_passed_is_committed_once_and_reading_continues_behind_it(two):
    """The next batch begins there, and nothing more is to be committed until something follows."""
    stream = two.join("a")
    write(two, 0, b"0", b"1")
    two.copy(stream, 2)
    batch = passed(stream)
    (topic_id,) = {key[0] for key in batch.begins}
    assert (dict(batch.begins), dict(batch.passed)) == (
        {(topic_id, 0): 2},
        {(two.topic, 0): (topic_id, 3)},
    )
    stream.commit(batch, (), before_commit=lambda: None)
    assert committed(two) == {0: 3}
    assert stream.passed() is None
    write(two, 0, b"2")
    while (following := stream.collect(AT_ONCE)) is None:
        pass
    assert following.begins == {(topic_id, 0): 3}


def test_what_a_failed_commit_passed_is_passed_again(two):
    """Given back it is read again from where the group is, and comes once more."""
    stream = two.join("a")
    write(two, 0, b"0")
    two.copy(stream, 1)
    batch = passed(stream)

    def fail():
        raise StreamUnavailable("gone")

    with pytest.raises(StreamUnavailable, match="gone"):
        stream.commit(batch, (), before_commit=fail)
    stream.rewind([batch])
    assert committed(two) == {0: 1}
    again = passed(stream)
    assert (again.begins, again.passed) == (batch.begins, batch.passed)
    stream.commit(again, (), before_commit=lambda: None)
    assert committed(two) == {0: 2}


def test_a_position_of_before_a_rebalance_is_never_committed(two):
    """Another worker has the partition and is further: the late commit is refused as a whole."""
    first = two.join("a")
    for number in (0, 1):
        write(two, number, b"%d" % number)
    two.copy(first, 2)
    late = passed(first)
    while len(late.passed) < 2:
        first.rewind([late])
        late = passed(first)
    second = two.join("b")
    deadline = time.monotonic() + 60
    while not (len(first.assigned()) == len(second.assigned()) == 1):
        assert time.monotonic() < deadline
        first.keep_up(100)
        second.keep_up(100)
    ((_, moved),) = second.assigned()
    write(two, moved, b"2")
    two.copy(second, 3)
    before = committed(two)
    assert before[moved] > late.passed[two.topic, moved][1]
    with pytest.raises(StreamUnavailable, match=r"Generation|left the group"):
        first.commit(late, (), before_commit=lambda: None)
    first.rewind([late])
    assert committed(two) == before
