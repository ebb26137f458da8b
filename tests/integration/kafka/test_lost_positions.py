"""A group whose offsets Kafka has lost continues where it was, on a real Kafka."""

import time

import pytest

from deploy.local.services import start_kafka, start_redis
from policy_state.store.redis.store import RedisStore
from tests.support.long_form import IS_LONG
from tests.support.memory.store import MemoryStore
from tests.support.waiting import wait_for
from tests.support.workers.reading_group import SECONDS, Group


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
    assert said(r"films partitions=\S+ from the position in redis")
    committed = group.admin.list_group_offsets([group.prefix])[group.prefix]
    assert committed[group.tp("films", 1)].offset == 1, "and Kafka knows it again"


def test_a_topic_whose_route_comes_back_late_is_read_on(make_group):
    """Its offsets expire while the group continues without it; a topic made anew begins anew."""
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
    assert said(r"films partitions=\S+ from the first record")


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
