"""Routes that Redis has lost: put back by whom they are known to, and never guessed."""

from collections.abc import Iterator

import pytest

from consumer.errors import InvalidRoute
from consumer.route_table import RouteTable, table_to_change
from consumer.route_watch import RouteWatch
from consumer.settings import load_settings
from policy_state.backends.redis import RedisStore

SETTINGS = load_settings(options={"instance": "w-1"})
GROUP = SETTINGS.kafka.group
ROUTES = [{"name": "x", "topics": "x", "output": "o"}]
TABLE = f"offramp:{{routes:{GROUP}}}:table"


@pytest.fixture
def store(redis_url: str) -> Iterator[RedisStore]:
    """Yield a store with the routes of a group."""
    with RedisStore(redis_url) as opened:
        for revision in (0, 1):
            opened.write_routes(
                GROUP, ROUTES, revision=revision, action="a", detail={}, by="anna", reason=""
            )
        yield opened


def test_a_running_worker_puts_lost_routes_back(store: RedisStore) -> None:
    """Its last routes are written again, once, and the history says that a worker did it."""
    first, second = RouteWatch(SETTINGS, store), RouteWatch(SETTINGS, store)
    store.server.command("DEL", TABLE)
    for watch in (first, second, first):
        watch.look()
        assert watch.latest.names == ("x",)
    stored = store.routes(GROUP)
    assert ([route["name"] for route in stored.routes], stored.revision) == (["x"], 1)
    entry, before = store.route_history(GROUP, limit=2)
    assert (entry.action, entry.by, entry.automatic) == ("routes-put-back", "w-1", True)
    assert (before.action, before.automatic) == ("a", False)
    assert first.latest.version == second.latest.version == "revision 1"


def test_a_new_worker_does_not_guess_lost_routes(store: RedisStore) -> None:
    """It stops, and says how they are added again; the first one added is the only one."""
    store.server.command("DEL", TABLE)
    with pytest.raises(InvalidRoute, match=r"missing in Redis.*`offramp route history`"):
        RouteWatch(SETTINGS, store)
    assert table_to_change(store.routes(GROUP)) == RouteTable((), "redis")
