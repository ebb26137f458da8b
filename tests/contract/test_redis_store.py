"""What only the Redis store promises, on real servers: its keys, its refusals, its resends."""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

import pytest
import redis

from deploy.local.services import RedisServer
from policy_state.algorithms.settings import PolicySettings
from policy_state.errors import (
    FingerprintMismatch,
    PolicyNotFound,
    StoreCorrupt,
)
from policy_state.health.doctor import examine
from policy_state.stats import COUNT_MAX, ExitStats
from policy_state.store.admin import Pin, Reset
from policy_state.store.offsets import Status
from policy_state.store.redis.store import RedisStore
from policy_state.store.values import DomainSnapshot, PolicyMeta
from tests.support.policies.counted import META, ONE, part

Dump = Callable[[], dict[str, str]]


@pytest.fixture
def store(redis_server: RedisServer) -> Iterator[RedisStore]:
    """Yield a store with the policy open."""
    with RedisStore(redis_server.url, timeout_s=0.3) as opened:
        opened.open(META)
        yield opened


@pytest.fixture
def prefix(store: RedisStore) -> str:
    """Return what all keys of the policy begin with."""
    return f"offramp:{{{store.open(META).id}}}:"


def test_the_keys_are_those_of_the_map(store: RedisStore, raw: redis.Redis, prefix: str) -> None:
    """Every key has the name, type and content that the map in `common.lua` gives."""
    store.apply([part(2, 5, {"hôtels": ONE})])
    store.change("hôtels", Pin(2), by="anna", reason="a b")
    store.heartbeat("w:1", {"events": 3}, ttl_s=60)
    assert set(raw.scan_iter()) == {
        "offramp:policies",
        "offramp:workers",
        "offramp:worker:w%3A1",
        *(prefix + name for name in ("meta", "wm", "gaps", "idx", "agg", "audit", "d:h%C3%B4tels")),
    }
    counters = {"0": "1", "1": "1 1 0 1 0 0 1 0 1", "2": "1 1 1 0 0 0 1"}
    domain = raw.hgetall(prefix + "d:h%C3%B4tels")
    last_ms = int(domain.pop("t"))
    assert domain == counters | {"pin": "2", "pin_reason": "a%20b"}
    assert raw.hgetall(prefix + "agg") == counters | {"marks": "1", "gapped": "1"}
    assert raw.hgetall(prefix + "wm") == {"t1/0": "5"}
    assert raw.hgetall(prefix + "gaps") == {"t1/0": "0-2"}
    assert raw.zrange(prefix + "idx", 0, -1, withscores=True) == [("h%C3%B4tels", last_ms + 1e15)]
    found: Any = raw.xrange(prefix + "audit")
    ((_, entry),) = found
    assert entry.items() >= {"action": "pin", "domain": "hôtels", "by": "anna"}.items()
    meta = raw.hgetall(prefix + "meta")
    assert int(meta.pop("created")) <= last_ms
    assert json.loads(meta.pop("settings")) == asdict(PolicySettings())
    assert meta == {
        "fingerprint": "f1",
        "layers": "[1, 3, 7, 12]",
        "calibrated": "0",
        "classes": "2",
        "schema": "1",
        "revision": "1",
        "changes": "1",
        "domains": "100000",
        "idle_ms": "2592000000",
        "rare_idle_ms": "86400000",
        "rare_texts": "100",
    }


def test_texts_count_even_where_a_sample_cannot_be_kept(
    store: RedisStore, raw: redis.Redis, prefix: str
) -> None:
    """History is worth less than counting: a key of another type in its place stops nothing."""
    raw.set(prefix + "samples", "not a stream")
    many = sum([ONE] * 19, ONE)
    assert store.apply([part(0, 1, {"hotels": many})]).snapshots["hotels"].stats == many
    with pytest.raises(StoreCorrupt):
        store.samples("hotels")


def test_fields_of_other_kinds_are_left_alone(
    store: RedisStore, raw: redis.Redis, prefix: str
) -> None:
    """What else is noted with a domain stays as it is, stray bytes included; the epoch is read."""
    raw.hset(prefix + "d:hotels", mapping={"note": b"\xff", "9": "4", "epoch": "3"})
    snapshot = store.apply([part(0, 1, {"hotels": ONE})]).snapshots["hotels"]
    assert (snapshot.stats, snapshot.epoch) == (ONE, 3)
    assert raw.execute_command("HGET", prefix + "d:hotels", "note", NEVER_DECODE=True) == b"\xff"
    assert raw.hget(prefix + "d:hotels", "9") == "4"
    store.change("hotels", Pin(1), by="anna", reason="")
    assert raw.execute_command("HGET", prefix + "d:hotels", "note", NEVER_DECODE=True) == b"\xff"


def test_last_counters_of_zero_take_no_room(
    store: RedisStore, raw: redis.Redis, prefix: str
) -> None:
    """They are stored once a later kind was counted, and mean the same before and after."""
    two, three = ExitStats.from_texts([(0, 1)], exits=4), ExitStats.from_texts([(2, 0)], exits=4)
    store.apply([part(0, 2, {"a": two, "b": three})])
    assert raw.hget(prefix + "d:a", "0") == "1"
    assert raw.hget(prefix + "d:a", "1") == "1 1 1 1 0 0 1 0 1"
    assert raw.hget(prefix + "d:b", "0") == "1 0 0 0 0 0 0 1"
    answer = store.apply([part(2, 4, {"a": three, "b": two})])
    assert raw.hget(prefix + "d:a", "0") == raw.hget(prefix + "d:b", "0") == "2 0 0 0 0 0 0 1"
    assert answer.snapshots["a"].stats == answer.snapshots["b"].stats == two + three
    known = store.read(["a", "b", "c"])
    assert known["a"].stats == known["b"].stats == two + three
    assert store.totals().stats == two + three + two + three


def calibrated(texts: int) -> ExitStats:
    """Return counters of a domain of a calibrated model, with so many texts, a multiple of 4."""
    few = ExitStats.from_texts(
        [(0, 1, 1, 0), (1, 1), (1, 1, 0, 0), (0,)],
        exits=4,
        credits=[(0, 420, 0, 310), (0, 0), (0, 0, 270, 0), (0,)],
        scores=[(610, 790, 800, 980), (990, 999), (960, 970, 980, 990), (900,)],
        chosen=[1, None, None, None],
    )
    gated = ExitStats((0,) * 4, gated=(3, 2, 1, 0))
    fields = {name: count * (texts // 4) for name, count in (few + gated).to_fields().items()}
    return ExitStats.from_fields(fields, exits=4)


def test_a_domain_of_a_calibrated_model_stays_in_the_compact_form(
    store: RedisStore, raw: redis.Redis, prefix: str
) -> None:
    """After 40,000 texts no value is over 64 bytes, so the hash takes a half to a third."""
    stats = calibrated(40_000)
    store.apply([part(0, 1, {"a": stats})])
    answer = store.apply([part(1, 2, {"a": stats})])
    assert answer.snapshots["a"].stats == store.read(["a"])["a"].stats == stats + stats
    assert store.totals().stats == stats + stats
    values = raw.hgetall(prefix + "d:a")
    assert {"3", "3:9", "3:15", "3:22"} < values.keys()
    assert max(map(len, values.values())) <= 64
    assert raw.execute_command("OBJECT", "ENCODING", prefix + "d:a") in {"ziplist", "listpack"}
    store.change("a", Reset(keep=0.5), by="anna", reason="")
    assert store.read(["a"])["a"].stats == stats
    store.load({"b": DomainSnapshot(stats, 0, None)}, replace=True)
    assert store.read(["b"])["b"].stats == stats
    assert raw.hgetall(prefix + "d:a").keys() == raw.hgetall(prefix + "d:b").keys()


def test_what_stands_behind_counters_goes_with_them(
    store: RedisStore, raw: redis.Redis, prefix: str
) -> None:
    """A domain that starts again has nothing of before, whoever starts it; whole texts are read."""
    stats = calibrated(400)
    store.apply([part(0, 1, {"a": stats, "b": stats, "c": stats})])
    store.change("a", Reset(keep=0), by="anna", reason="")
    assert store.apply([part(1, 2, {"a": ONE})]).snapshots["a"].stats == ONE
    values = raw.hgetall(prefix + "d:b")
    whole = " ".join(str(values[field]) for field in ("3", "3:9", "3:15", "3:22"))
    raw.hdel(prefix + "d:b", "3:9", "3:15", "3:22")
    raw.hset(prefix + "d:b", "3", whole)
    assert store.apply([part(2, 3, {"b": stats})]).snapshots["b"].stats == stats + stats
    assert store.read(["b"])["b"].stats == stats + stats
    store.restart(by="anna", reason="")
    assert store.apply([part(3, 4, {"c": ONE})]).snapshots["c"].stats == ONE
    assert not {"0:9", "1:9", "2:9", "3:9", "3:15", "3:22"} & raw.hgetall(prefix + "d:c").keys()


@pytest.mark.parametrize("lost", ["3", "3:9"])
def test_counters_without_those_before_them_are_damage(
    store: RedisStore, raw: redis.Redis, prefix: str, lost: str
) -> None:
    """Where a field is missing in the middle, no number passes for another one."""
    store.apply([part(0, 1, {"a": calibrated(400)})])
    raw.hdel(prefix + "d:a", lost)
    with pytest.raises(StoreCorrupt, match=r"d:a field 3:(9|15)"):
        store.apply([part(1, 2, {"a": ONE})])
    with pytest.raises(StoreCorrupt):
        store.read(["a"])


def test_sums_stay_exact_in_every_digit(store: RedisStore, raw: redis.Redis, prefix: str) -> None:
    """Large counts are stored as plain integers: Lua's short form of numbers would lose digits."""
    raw.hset(prefix + "d:hotels", "0", f"{COUNT_MAX - 8} 5")
    store.apply([part(COUNT_MAX - 2, COUNT_MAX - 1, {"hotels": ONE})])
    assert raw.hget(prefix + "d:hotels", "0") == "9007199254740984 5"
    assert raw.hget(prefix + "wm", "t1/0") == "9007199254740990"


def test_a_lost_or_replaced_policy_is_told(
    store: RedisStore, raw: redis.Redis, prefix: str
) -> None:
    """After the server lost the policy, or it was replaced by another model's, nothing is added."""
    raw.hset(prefix + "meta", "fingerprint", "f9")
    with pytest.raises(FingerprintMismatch, match=r"fingerprint f1, the stored counters .* f9"):
        store.apply([part(0, 1, {"hotels": ONE})])
    raw.flushall()
    with pytest.raises(PolicyNotFound, match="sentiment is gone"):
        store.apply([part(0, 1, {"hotels": ONE})])
    assert not raw.dbsize()
    store.open(META)
    assert store.apply([part(0, 1, {"hotels": ONE})]).outcomes[0].status is Status.APPLIED


def test_a_policy_that_was_only_named_is_created(store: RedisStore, raw: redis.Redis) -> None:
    """A worker that died between taking the name and writing the policy blocks nobody."""
    raw.hset("offramp:policies", "half", "deadbeef")
    assert store.policies() == (META,)
    opened = store.open(PolicyMeta("half", "f1", (1, 2)))
    assert (opened.created, opened.id) == (True, "deadbeef")
    assert len(store.policies()) == 2


def test_a_meta_that_is_no_policy_is_named(
    store: RedisStore, raw: redis.Redis, prefix: str
) -> None:
    """Fields that cannot be read back raise, with the key."""
    raw.hset(prefix + "meta", "layers", "{")
    with pytest.raises(StoreCorrupt, match="meta is not a policy"):
        store.find(META.name)
    raw.hdel(prefix + "meta", "layers")
    with pytest.raises(StoreCorrupt, match="KeyError 'layers'"):
        store.open(META)


def test_the_doctor_sees_lost_and_unlisted_domains(
    store: RedisStore, raw: redis.Redis, prefix: str
) -> None:
    """Texts that are in the sums and in no domain are a problem, and so is a damaged domain."""
    store.apply([part(0, 9, {"hotels": ONE, "books": ONE + ONE})])
    raw.delete(prefix + "d:hotels")
    raw.zrem(prefix + "idx", "books")
    assert {(f.check, f.subject) for f in examine(store).findings} == {
        ("index", "hotels"),
        ("ledger", "all domains"),
    }
    raw.hset(prefix + "d:music", "0", "x")
    raw.zadd(prefix + "idx", {"music": 1})
    assert ("corrupt", "music") in {(f.check, f.subject) for f in examine(store).findings}
