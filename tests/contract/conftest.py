"""The stores that the contract is held against, and the real servers behind them."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache

import pytest
import redis

from deploy.local.services import Flavour, RedisServer, start_redis
from policy_state.store.admin import PolicyAdmin
from policy_state.store.port import StatsStore
from policy_state.store.redis.store import RedisStore
from tests.support.memory.store import MemoryStore
from tests.support.policies.counted import META, MakeStore
from tests.support.servers.flavours import FLAVOURS

ServerOf = Callable[[Flavour], RedisServer]


@pytest.fixture(scope="session")
def server_of() -> Iterator[ServerOf]:
    """Return a real server of a flavour: one for all tests, started when first asked for."""
    with ExitStack() as stack:
        yield cache(lambda flavour: stack.enter_context(start_redis(flavour=flavour)))


@pytest.fixture(params=FLAVOURS)
def redis_server(request: pytest.FixtureRequest, server_of: ServerOf) -> RedisServer:
    """Return a real server, emptied before the test."""
    server = server_of(request.param)
    with redis.Redis.from_url(server.url) as client:
        client.flushall()
    return server


@pytest.fixture(params=["memory", *FLAVOURS])
def make_store(
    request: pytest.FixtureRequest, server_of: ServerOf
) -> Iterator[Callable[[], StatsStore]]:
    """Return a maker of stores that share one state, empty at first."""
    if request.param == "memory":
        shared = MemoryStore()
        yield lambda: shared
        return
    url = server_of(request.param).url
    with redis.Redis.from_url(url) as client:
        client.flushall()
    with ExitStack() as stack:
        yield lambda: stack.enter_context(RedisStore(url))


@pytest.fixture
def store(make_store: MakeStore) -> PolicyAdmin:
    """Return a store with the policy open."""
    store = make_store()
    store.open(META)
    return store


@pytest.fixture
def raw(redis_server: RedisServer) -> Iterator[redis.Redis]:
    """Yield a plain client beside the store."""
    with redis.Redis.from_url(redis_server.url, decode_responses=True) as client:
        yield client


@pytest.fixture
def dump(raw: redis.Redis) -> Callable[[], dict[str, str]]:
    """Return what returns everything in the server, in its own serialised form."""

    def serialised(key: str) -> str:
        return repr(raw.execute_command("DUMP", key, NEVER_DECODE=True))

    return lambda: {str(key): serialised(str(key)) for key in raw.scan_iter()}
