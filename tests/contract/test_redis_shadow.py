"""What shadows have compared, in a real Redis: each prediction once, within bounds, for a while."""

from dataclasses import replace

import pytest
import redis

from policy_state.errors import SettingsConflict, StoreCorrupt
from policy_state.shadowed import ComparedModel, ShadowCounts
from policy_state.stats import ExitStats
from policy_state.store.redis.shadow import KEPT_MS, RedisShadow
from policy_state.store.redis.store import RedisStore

LIVE, NEW = ComparedModel("live", (1, 2), 2), ComparedModel("new", (1, 2, 4), 2, calibrated=True)
ONE = ShadowCounts(ExitStats.from_labels([0, 1, 1], exits=3), (0, 1, 1), (1, 0), 0, 0, 12)


@pytest.fixture
def store(redis_url):
    with RedisStore(redis_url) as store:
        yield store


@pytest.fixture
def shadow(store):
    return RedisShadow(store.server, "default")


def test_what_was_compared_adds_up_and_is_read_again(shadow, store):
    """By pair of models and domain, whoever looks; positions move with it."""
    assert shadow.pairs() == ()
    assert shadow.count(NEW, {"t/0": (-1, 5)}, {}) == ()
    for first in (5, 9):
        shadow.count(NEW, {"t/0": (first, first + 4)}, {LIVE: {"zürich/{x}": ONE, "b": ONE}})
    other = RedisShadow(store.server, "default")
    (pair,) = other.pairs()
    assert (pair.live, pair.new) == (LIVE, NEW)
    assert 0 < pair.begun_ms <= pair.last_ms
    assert other.positions("new") == {"t/0": 13}
    assert other.positions("live") == {}
    assert set(other.domains(pair)) == {"zürich/{x}", "b"}
    assert other.read(pair, "zürich/{x}") == ONE + ONE
    assert other.read(pair, "c").texts == 0
    assert RedisShadow(store.server, "second").pairs() == ()


def test_a_call_that_comes_again_adds_nothing(shadow):
    """As after a reply that was lost."""
    for _ in range(2):
        shadow.count(NEW, {"t/0": (-1, 5), "t/1": (-1, 7)}, {LIVE: {"a": ONE}})
    (pair,) = shadow.pairs()
    assert shadow.read(pair, "a") == ONE


def test_a_second_shadow_of_the_same_model_counts_nothing(shadow):
    """It is told, and nothing of its call is written; that of another model is not concerned."""
    shadow.count(NEW, {"t/0": (-1, 5)}, {LIVE: {"a": ONE}})
    for start in (-1, 3):
        with pytest.raises(SettingsConflict, match="another `offramp shadow`"):
            shadow.count(NEW, {"t/0": (start, 9), "t/1": (-1, 3)}, {LIVE: {"a": ONE}})
    assert shadow.positions("new") == {"t/0": 5}
    shadow.count(replace(NEW, fingerprint="third"), {"t/0": (-1, 9)}, {LIVE: {"a": ONE}})
    assert [shadow.read(pair, "a") for pair in shadow.pairs()] == [ONE, ONE]


def test_a_redis_that_lost_the_positions_counts_on(shadow, redis_url):
    """What was compared is gone, and counting begins anew from where the shadow is."""
    shadow.count(NEW, {"t/0": (-1, 5)}, {LIVE: {"a": ONE}})
    with redis.Redis.from_url(redis_url) as raw:
        raw.flushdb()
    shadow.count(NEW, {"t/0": (5, 9)}, {LIVE: {"a": ONE}})
    (pair,) = shadow.pairs()
    assert shadow.read(pair, "a") == ONE


def test_keys_are_bounded_in_number_and_expire(store, redis_url):
    """Domains beyond the limit share one, pairs beyond it are refused, and every key has an end."""
    shadow = RedisShadow(store.server, "default", pairs=1, domains=2)
    shadow.count(NEW, {"t/0": (-1, 1)}, {LIVE: {"a": ONE, "b": ONE, "c": ONE, "d": ONE}})
    shadow.count(NEW, {"t/0": (1, 2)}, {LIVE: {"e": ONE, "a": ONE}})
    (pair,) = shadow.pairs()
    assert set(shadow.domains(pair)) == {"a", "b", "__overflow__"}
    assert shadow.read(pair, "a") == ONE + ONE
    assert shadow.read(pair, "__overflow__").texts == 3
    other = replace(LIVE, fingerprint="other")
    assert shadow.count(NEW, {"t/0": (2, 3)}, {other: {"a": ONE}, LIVE: {"a": ONE}}) == ("other",)
    assert shadow.pairs()[0].live == LIVE
    assert shadow.read(pair, "a").texts == 3
    with redis.Redis.from_url(redis_url, decode_responses=True) as raw:
        keys = raw.keys()
        assert all(":shadow" in key for key in keys)
        assert all(0 < raw.pttl(key) <= KEPT_MS for key in keys)


def test_a_value_that_is_no_count_is_told_and_nothing_is_written(shadow, redis_url):
    """Somebody edited it: the key and the field are named, before the position moves."""
    shadow.count(NEW, {"t/0": (-1, 1)}, {LIVE: {"a": ONE}})
    with redis.Redis.from_url(redis_url, decode_responses=True) as raw:
        (key,) = raw.keys("*:d:a")
        raw.hset(key, "same1", "many")
    (pair,) = shadow.pairs()
    with pytest.raises(StoreCorrupt, match="same1"):
        shadow.read(pair, "a")
    with pytest.raises(StoreCorrupt, match="same1"):
        shadow.count(NEW, {"t/0": (1, 2)}, {LIVE: {"a": ONE, "b": ONE}})
    assert shadow.positions("new") == {"t/0": 1}
    assert shadow.read(pair, "b").texts == 0
