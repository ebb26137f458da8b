"""Records read ahead: order, fairness, limits."""

from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.events.record import Record
from consumer.kafka.reading.buffer import Buffer


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
    offsets: defaultdict[tuple[str, int], int] = defaultdict(int)
    for topic, partition, size in rows:
        buffer.add([record(topic, partition, offsets[topic, partition], size)])
        offsets[topic, partition] += 1
    taken = defaultdict(list)
    while buffer.events:
        batch = buffer.take(max_events=max_events, max_tokens=max_tokens)
        assert 1 <= len(batch) <= max_events
        assert len(batch) == 1 or sum(r.text_bytes for r in batch) <= max_tokens * 4
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


def test_a_partition_is_full_at_its_share():
    """No more is read of a partition that holds its share of the limit, until some is taken."""
    buffer = Buffer(limit_bytes=4000)
    buffer.add(record("a", 0, i, size=100) for i in range(7))
    assert buffer.full([("a", 0)]) == set()
    assert buffer.full([("a", 0), ("a", 1)]) == {("a", 0)}
    buffer.take(max_events=4, max_tokens=10_000)
    assert buffer.full([("a", 0), ("a", 1)]) == set()


@given(st.lists(st.integers(1, 400), max_size=40), st.integers(1, 9))
def test_no_more_than_the_limit_is_read_ahead_of_all_partitions(sizes, partitions):
    """Whatever is read where there is room: it ends at the limit, by one record at most."""
    buffer = Buffer(limit_bytes=2000)
    keys = [("a", number) for number in range(partitions)]
    held = 0
    for offset, size in enumerate(sizes):
        room = [key for key in keys if key not in buffer.full(keys)]
        if not room:
            break
        row = record(*room[-1], offset, size)
        held += row.size_bytes
        buffer.add([row])
    assert held < 2000 + record("a", 0, 0, 400).size_bytes


def test_headers_count_as_memory_and_not_as_text():
    """Records with large headers fill the buffer, but not a batch."""
    buffer = Buffer(limit_bytes=1000)
    buffer.add([Record("a", 0, 0, 0, None, b"x", (("trace", b"y" * 990),))])
    assert buffer.full([("a", 0)]) == {("a", 0)}
    assert buffer.tokens < 50


def test_what_is_dropped_is_forgotten():
    """A lost partition's records never come out; the others do."""
    buffer = Buffer(limit_bytes=1000)
    buffer.add([record("a", 0, 0), record("a", 1, 0)])
    buffer.drop(("a", 0))
    assert [r.partition for r in buffer.take(max_events=9, max_tokens=99)] == [1]
    buffer.add([record("a", 0, 0)])
    buffer.drop(("a", 0))
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
