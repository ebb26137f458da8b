"""Routes that Redis has lost: put back by whom they are known to, and never guessed."""

from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from consumer.errors import InvalidRoute
from consumer.routes.table import RouteTable, table_to_change
from consumer.routes.watch import RouteWatch
from consumer.settings.load import load_settings
from policy_state.store.kept import Records
from policy_state.store.redis.keeping import Keeping
from policy_state.store.redis.store import RedisStore

SETTINGS = load_settings()
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
    first, second = (RouteWatch(SETTINGS.group_routes, store, instance="w-1") for _ in range(2))
    store.server.command("DEL", TABLE)
    for watch in (first, second, first):
        watch.look()
        assert watch.latest.names == ("x",)
    stored = store.routes(GROUP)
    assert ([route["name"] for route in stored.routes], stored.revision) == (["x"], 2)
    entry, before = store.route_history(GROUP, limit=2)
    assert (entry.action, entry.by, entry.automatic) == ("routes-put-back", "w-1", True)
    assert (before.action, before.automatic) == ("a", False)
    assert first.latest.version == second.latest.version == "revision 2"


def test_a_new_worker_does_not_guess_lost_routes(store: RedisStore) -> None:
    """It stops, and says how they are added again; the first one added is the only one."""
    store.server.command("DEL", TABLE)
    with pytest.raises(InvalidRoute, match=r"has lost the routes.*`offramp route history`"):
        RouteWatch(SETTINGS.group_routes, store, instance="w-1")
    assert table_to_change(store.routes(GROUP)) == RouteTable((), "redis")


def add(store: RedisStore, revision: int, *names: str) -> None:
    """Set routes as people do."""
    rows = [{"name": name, "topics": name, "output": "o"} for name in names]
    store.write_routes(
        GROUP, rows, revision=revision, action="add", detail={}, by="anna", reason=""
    )


def copied(keeping: Keeping, kept: Records) -> Records:
    """Return a copy with what it lacks."""
    news = keeping.news(kept)
    return {k: v for k, v in (kept | news).items() if v is not None}


def lose(store: RedisStore, what: str) -> None:
    """Lose the routes alone, or all there is but for what the policy topic brings back of it."""
    store.server.command(*(["DEL", TABLE] if what == "table" else ["FLUSHDB"]))


@pytest.mark.parametrize("lost", ["table", "everything"])
@pytest.mark.parametrize("behind", ["worker", "copy", "neither"])
@pytest.mark.parametrize("first", ["worker", "keeper"])
def test_whoever_writes_lost_routes_first_the_latest_are_in_force(
    store: RedisStore, lost: str, behind: str, first: str
) -> None:
    """A worker that slept, and a copy that lags, bring nothing back that people had changed since.

    What neither knows of all that is there cannot come back: the copy is what is left then.
    """
    keeping = Keeping(store, group=GROUP, policy="default")
    watch = RouteWatch(SETTINGS.group_routes, store, instance="w-1")
    kept = copied(keeping, {})
    add(store, 2, "x", "y")
    if behind != "worker":
        watch.look()
    if behind != "copy":
        kept = copied(keeping, kept)
    lose(store, lost)

    def keep() -> None:
        nonlocal kept
        keeping.restore(kept, by="w-0", reason="lost", automatic=True)
        kept = copied(keeping, kept)

    for step in ([watch.look, keep] if first == "worker" else [keep, watch.look]) * 2:
        step()
    known = ["x"] if (lost, behind) == ("everything", "copy") else ["x", "y"]
    assert [route["name"] for route in store.routes(GROUP).routes] == known
    assert list(watch.latest.names) == known
    assert keeping.lost(kept) == {}
    assert keeping.news(kept) == {}
    assert [row["name"] for row in orjson.loads(kept["routes",]["routes"])] == known


@pytest.mark.parametrize("emptied_again", [False, True])
def test_a_worker_that_looks_while_the_keeper_restores_changes_nothing(
    store: RedisStore, *, emptied_again: bool
) -> None:
    """At each command of the keeper a worker looks, and the table may go once more in between."""
    keeping = Keeping(store, group=GROUP, policy="default")
    watch = RouteWatch(SETTINGS.group_routes, store, instance="w-1")
    add(store, 2, "x", "y")
    watch.look()
    kept = copied(keeping, {})
    store.server.command("FLUSHDB")
    between = Between(store.server, watch, TABLE if emptied_again else "")
    held: Any = Held(between)
    Keeping(held, group=GROUP, policy="default").restore(
        kept, by="w-0", reason="lost", automatic=True
    )
    assert between.looks > 2
    watch.look()
    assert [route["name"] for route in store.routes(GROUP).routes] == ["x", "y"]
    assert store.routes(GROUP).revision == 3
    assert watch.latest.names == ("x", "y")
    assert keeping.lost(kept) == {}


class Held:
    """What `Keeping` needs of a store."""

    def __init__(self, server: "Between") -> None:
        self.server = server


class Between:
    """A server beside which a worker looks after each call; a key may go once it is there."""

    def __init__(self, server: Any, watch: RouteWatch, gone: str) -> None:
        self._server = server
        self._watch = watch
        self._gone = gone
        self.looks = 0

    def command(self, *words: str | int) -> Any:
        """Run one command."""
        return self._then_look(self._server.command(*words))

    def script(self, *given: Any) -> Any:
        """Run one of the scripts."""
        return self._then_look(self._server.script(*given))

    def _then_look(self, answer: Any) -> Any:
        if self._gone and self._server.command("DEL", self._gone):
            self._gone = ""
        self.looks += 1
        self._watch.look()
        return answer
