"""Records read ahead: order, fairness, limits."""

from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.buffer import Buffer
from consumer.records import Record


def record(topic, partition, offset, size=10):
    return Record(topic, partition, offset, 0, None, b"x" * size)


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 2), st.integers(1, 400)), max_size=60),
    st.integers(1, 20),
    st.integers(1, 300),
)
def test_everything_is_taken_once_and_in_order(rows, max_events, max_tokens):
    """Whatever the limits, batches hold each record once, in order per partition, within limits."""
    buffer = Buffer(limit_bytes=1 << 20)
    offsets = defaultdict(int)
    for topic, partition, size in rows:
        buffer.add([record(topic, partition, offsets[topic, partition], size)])
        offsets[topic, partition] += 1
    taken = defaultdict(list)
    while buffer.events:
        batch = buffer.take(max_events=max_events, max_tokens=max_tokens)
        assert 1 <= len(batch) <= max_events
        assert len(batch) == 1 or sum(r.size_bytes for r in batch) <= max_tokens * 4
        for r in batch:
            taken[r.topic, r.partition].append(r.offset)
    assert taken == {key: list(range(count)) for key, count in offsets.items()}
    assert buffer.tokens == 0


def test_a_hot_topic_does_not_starve_another():
    """With 1,000 records of one topic before it, another's are in the next batch all the same."""
    buffer = Buffer(limit_bytes=1 << 20)
    for partition in range(4):
        buffer.add(record("hot", partition, i) for i in range(250))
    buffer.add(record("cold", 0, i) for i in range(5))
    batch = buffer.take(max_events=64, max_tokens=10_000)
    assert [r.offset for r in batch if r.topic == "cold"] == [0, 1, 2, 3, 4]
    assert {r.partition for r in batch if r.topic == "hot"} == {0, 1, 2, 3}


def test_a_partition_is_full_at_its_limit():
    """No more is read of a partition that holds its share, until some is taken."""
    buffer = Buffer(limit_bytes=1000)
    buffer.add(record("a", 0, i, size=100) for i in range(7))
    assert buffer.full(("a", 0))
    assert not buffer.full(("a", 1))
    buffer.take(max_events=4, max_tokens=10_000)
    assert not buffer.full(("a", 0))


def test_what_is_dropped_is_forgotten():
    """A lost partition's records never come out; the others do."""
    buffer = Buffer(limit_bytes=1000)
    buffer.add([record("a", 0, 0), record("a", 1, 0)])
    buffer.drop(("a", 0))
    assert [r.partition for r in buffer.take(max_events=9, max_tokens=99)] == [1]
    buffer.add([record("a", 0, 0)])
    buffer.clear()
    assert (buffer.events, buffer.tokens, buffer.waiting_s) == (0, 0, 0)
    with pytest.raises(IndexError):
        buffer.take(max_events=1, max_tokens=1)


def test_waiting_counts_from_the_first_record():
    """The clock starts with the first record and stops when none is left."""
    now = [10.0]
    buffer = Buffer(limit_bytes=1000, clock=lambda: now[0])
    now[0] = 12.0
    assert buffer.waiting_s == 0
    buffer.add([record("a", 0, 0)])
    now[0] = 15.0
    assert buffer.waiting_s == 3.0
    buffer.take(max_events=1, max_tokens=99)
    assert buffer.waiting_s == 0
