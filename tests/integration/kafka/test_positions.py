"""From where a group reads, on a real Kafka: nothing is skipped or read twice without a word."""

import pytest

from tests.support.memory.store import MemoryStore


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
    """It continues at the first record that is left, and a warning says how many are gone."""
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
