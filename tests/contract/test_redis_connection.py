"""How the Redis store gets on with its server: connections lost, silence, refusals, a cluster."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from deploy.local.process import wait_until
from deploy.local.services import Flavour, RedisServer, start_redis
from policy_state.errors import (
    InvalidInput,
    StoreRefused,
    StoreUnavailable,
)
from policy_state.store.offsets import Status
from policy_state.store.redis.store import RedisStore
from tests.support.policies.counted import META, ONE, part
from tests.support.servers.flavours import FLAVOURS

Dump = Callable[[], dict[str, str]]


@pytest.fixture
def store(redis_server: RedisServer) -> Iterator[RedisStore]:
    """Yield a store with the policy open."""
    with RedisStore(redis_server.url, timeout_s=0.3) as opened:
        opened.open(META)
        yield opened


def command(raw: redis.Redis, *words: object) -> Any:
    """Return the server's answer to any command, as bytes."""
    return raw.execute_command(*words, NEVER_DECODE=True)


def test_scripts_are_loaded_again(store: RedisStore, raw: redis.Redis) -> None:
    """A server that forgot its scripts, as after a restart, is taught them in passing."""
    store.apply([part(0, 1, {"hotels": ONE})])
    raw.script_flush()
    assert store.apply([part(1, 2, {"hotels": ONE})]).outcomes[0].status is Status.APPLIED


def test_a_dropped_connection_is_not_noticed(store: RedisStore, raw: redis.Redis) -> None:
    """A connection that the server closed is replaced, and the call answered."""
    for offset in range(3):
        command(raw, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        store.apply([part(offset, offset + 1, {"hotels": ONE})])
    assert store.totals().stats.texts == 3


def test_no_answer_in_time_and_sent_again_counts_once(
    store: RedisStore, redis_server: RedisServer
) -> None:
    """A frozen server ends in `StoreUnavailable`; what it does once it wakes counts only once."""
    store.apply([part(0, 1, {"hotels": ONE})])
    redis_server.pause()
    try:
        with pytest.raises(StoreUnavailable):
            store.apply([part(1, 2, {"hotels": ONE})])
    finally:
        redis_server.resume()
    store.apply([part(1, 2, {"hotels": ONE})])
    assert store.read(["hotels"])["hotels"].stats == ONE + ONE
    assert store.totals().stats == ONE + ONE


def test_a_server_that_is_full_changes_nothing(
    store: RedisStore, raw: redis.Redis, dump: Dump
) -> None:
    """Out of memory is a state that passes: nothing is written, and the same call works later."""
    store.apply([part(0, 1, {"hotels": ONE})])
    before = dump()
    raw.config_set("maxmemory", "1")
    try:
        with pytest.raises(StoreUnavailable, match="cannot serve now"):
            store.apply([part(1, 2, {"hotels": ONE})])
    finally:
        raw.config_set("maxmemory", "0")
    assert dump() == before
    assert store.apply([part(1, 2, {"hotels": ONE})]).outcomes[0].status is Status.APPLIED


def test_a_wrong_password_is_refused_for_good(redis_server: RedisServer) -> None:
    """A login that fails is no outage, and the password is not shown."""
    url = redis_server.url.replace("redis://", "redis://nobody:secret@")
    with RedisStore(url) as store, pytest.raises(StoreRefused) as caught:
        store.open(META)
    assert "secret" not in str(caught.value)


def test_nobody_at_the_address_is_an_outage() -> None:
    """A refused connection is `StoreUnavailable`, whatever the call."""
    with RedisStore("redis://127.0.0.1:1/0") as store:
        for ask in (lambda: store.open(META), store.policies, store.workers):
            with pytest.raises(StoreUnavailable):
                ask()


@pytest.mark.parametrize("url", ["", "localhost:6379", "http://:secret@x", "redis://:a@b:secret"])
def test_an_address_that_is_none_is_told_without_its_password(url: str) -> None:
    """A malformed address is refused; it may hold a password, so it is not shown."""
    with pytest.raises(InvalidInput, match="redis address") as caught:
        RedisStore(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_a_policy_lives_in_one_slot_of_a_cluster(flavour: Flavour) -> None:
    """On a server in cluster mode every call works: its keys are all in one slot."""
    with (
        start_redis(flavour=flavour, args=("--cluster-enabled", "yes")) as server,
        redis.Redis.from_url(server.url) as raw,
        RedisStore(server.url) as store,
    ):
        command(raw, "CLUSTER", "ADDSLOTS", *range(16_384))
        wait_until(
            lambda: b"cluster_state:ok" in command(raw, "CLUSTER", "INFO"),
            timeout_s=10,
            what="the cluster",
        )
        store.open(META)
        domains = {f"d{number}": ONE for number in range(20)}
        store.apply([part(0, 20, domains)])
        store.heartbeat("w", {"events": 20}, ttl_s=60)
        assert store.totals().domains == len(store.domains()) == 20
        assert store.read(domains)["d7"].stats == ONE
        assert store.policies() == (META,)
        assert store.workers() == {"w": {"events": "20"}}
