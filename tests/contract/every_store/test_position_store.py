"""What every store of positions must do, in memory and on real servers."""

import pytest

from policy_state.errors import StoreCorrupt
from policy_state.store.groups import ConsumerGroup, StoredPositions
from policy_state.store.redis.store import RedisStore

GROUP = ConsumerGroup("cluster-1", "gruppe {ä}:x")
SAME_NAME = ConsumerGroup("cluster-2", "gruppe {ä}:x")


def test_of_workers_that_begin_a_group_the_first_decides_for_all(make_store):
    """Where a group begins is written once, all partitions together, also where there are none."""
    one, other = make_store(), make_store()
    assert not one.group_began(GROUP)
    assert one.positions(GROUP) == StoredPositions(began=False)
    many = {f"id-1/{number}": 2**53 - 1 - number for number in range(9_000)}
    assert one.begin_group(GROUP, many)
    assert not other.begin_group(GROUP, {"id-1/0": 7, "id-2/0": 7})
    assert other.group_began(GROUP)
    assert other.positions(GROUP) == StoredPositions(began=True, offsets=many)
    assert other.begin_group(SAME_NAME, {})
    assert not one.begin_group(SAME_NAME, {"id-1/0": 7})
    assert one.positions(SAME_NAME) == StoredPositions(began=True)


def test_a_position_is_the_last_one_that_was_kept(make_store):
    """Each partition has its own; what is not told stays as it was, and is unknown at first."""
    store = make_store()
    store.keep_positions(GROUP, {"id-1/0": 5, "id-1/1": 6})
    store.keep_positions(GROUP, {"id-1/1": 4})
    store.keep_positions(GROUP, {})
    found = [store.position(GROUP, f"id-1/{number}") for number in range(3)]
    assert found == [5, 4, None]
    assert store.position(SAME_NAME, "id-1/0") is None
    assert not store.group_began(GROUP)


def test_a_position_that_is_no_number_is_refused(redis_server, raw):
    """What was edited by hand is named, key and field."""
    with RedisStore(redis_server.url) as store:
        store.keep_positions(GROUP, {"id-1/0": 5})
        (key,) = raw.keys("offramp:{positions:*")
        raw.hset(key, "id-1/0", "five")
        for look in (lambda: store.position(GROUP, "id-1/0"), lambda: store.positions(GROUP)):
            with pytest.raises(StoreCorrupt, match=r"positions:.*id-1/0"):
                look()
