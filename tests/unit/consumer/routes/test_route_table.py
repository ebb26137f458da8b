"""The routes of a group together: order, names, changes, what cannot be, following them."""

import pytest

from consumer.errors import InvalidRoute, InvalidSettings, RoutesGone
from consumer.routes.route import Route
from consumer.routes.table import (
    BUILT_IN,
    GroupRoutes,
    RouteTable,
    route_from,
    settings_table,
    stored_table,
)
from consumer.routes.watch import RouteWatch
from consumer.settings.load import load_settings
from policy_state.store.groups import ROUTES_MAX, StoredRoutes
from tests.support.memory.store import MemoryStore


def write(store, *routes, revision, group="offramp"):
    store.write_routes(
        group,
        list(routes),
        revision=revision,
        action="route-add",
        detail={},
        by="anna",
        reason="",
    )


def test_routes_survive_being_stored():
    """What is written is what is read, in order."""
    table = RouteTable((), "redis").with_route(
        Route(topics=r"a\.(?P<domain>.+)", domain="field:meta.shop", output="out", cost_weight=0.3)
    )
    table = table.with_route(Route(topics="b"), before="a")
    assert table.names == ("b", "a")
    assert stored_table(StoredRoutes(3, tuple(table.documents()))).routes == table.routes


def test_a_route_gets_a_name_from_its_pattern():
    """The beginning of the pattern is the name, with a number where it is taken."""
    table = settings_table(
        [Route(topics=t) for t in (r"reviews\.x", r"reviews\.y", "(a|b)", "orders|x", "[a]")]
    )
    assert table.names == ("reviews", "reviews-2", "route", "orders", "route-2")


@pytest.mark.parametrize(
    ("routes", "said"),
    [
        ([{"topics": "out", "output": "out"}], "would read out"),
        ([{"topics": "a", "output": "b"}, {"topics": "b|c", "output": "d"}], "would read b"),
        ([{"topics": "dead"}], "the dead-letter topic"),
        ([{"topics": "a", "output": "dead"}], "route 'a': output dead is the dead-letter topic"),
        ([{"topics": ".*"}], "would read"),
        ([{"topics": "a", "name": "x"}, {"topics": "b", "name": "x"}], "two routes"),
        ([{"topics": f"t{i}"} for i in range(ROUTES_MAX + 1)], "limit 200"),
    ],
)
def test_routes_that_cannot_be_together_are_refused(routes, said):
    """No route reads what a worker writes or mixes it, names are unique, and not too many."""
    with pytest.raises(InvalidRoute, match=said):
        GroupRoutes("g", None, "dead", "policy").check([Route(**fields) for fields in routes])


def test_settings_refuse_such_routes_too():
    """A file with a route that takes its own output does not start a worker."""
    with pytest.raises(InvalidSettings, match="would read out"):
        load_settings(options={"routes": [{"topics": "ou.", "output": "out"}]})


def test_a_stored_route_that_is_none_is_named():
    """A field of a newer version, or a damaged one, is an error that names it."""
    for fields, said in (({"topics": "a", "since": 5}, "since"), ({"topics": 5}, "topics")):
        with pytest.raises(InvalidRoute, match=said):
            route_from(fields)


def test_routes_of_the_settings_win_over_those_in_redis():
    """Given in the settings they are used; else those of the group; else the built-in one."""
    store = MemoryStore()
    plain = load_settings()
    assert plain.group_routes.in_force(store).routes == (BUILT_IN,)
    write(store, {"name": "x", "topics": "x"}, revision=0)
    write(store, {"name": "y", "topics": "y"}, revision=0, group="other")
    assert plain.group_routes.in_force(store).names == ("x",)
    own = load_settings(options={"routes": [{"topics": "mine"}]})
    table = own.group_routes.in_force(store)
    assert (table.names, table.version) == (("mine",), "settings")


def test_a_watch_takes_changes_and_keeps_the_last_good_routes():
    """New routes come at the next look; broken ones change nothing, lost ones are put back."""
    store = MemoryStore()
    watch = RouteWatch(load_settings().group_routes, store, instance="w-1")
    assert watch.latest.routes == (BUILT_IN,)
    write(store, {"name": "x", "topics": "x"}, revision=0)
    watch.look()
    taken = watch.latest
    assert (taken.names, taken.version) == (("x",), "revision 1")
    watch.look()
    assert watch.latest is taken
    write(store, {"name": "bad", "topics": "(a+)+"}, revision=1)
    watch.look()
    write(store, {"name": "bad", "topics": r"offramp\..*"}, revision=2)  # its own dead letters
    watch.look()
    assert watch.latest is taken
    store._routes.clear()  # as if the server had lost its data
    watch.look()
    assert watch.latest.routes == taken.routes
    assert store.routes("offramp").revision == 1  # they are there again
    write(store, {"name": "new", "topics": "new"}, revision=1)
    watch.look()
    assert watch.latest.names == ("new",)


def test_routes_that_stay_gone_end_a_worker_with_what_mends_it():
    """Those that were known are in force until then; routes that are back are no trouble."""
    store = MemoryStore()
    write(store, {"name": "x", "topics": "x"}, revision=0)
    watch = RouteWatch(load_settings().group_routes, store, instance="w-1", gone_s=0.0)
    kept, history = dict(store._routes), dict(store._route_history)
    store._routes.clear()
    store._route_history.clear()  # or they would be put back
    watch.check()
    watch.look()
    with pytest.raises(RoutesGone, match="offramp policy rebuild"):
        watch.check()
    known = watch.latest
    assert known.names == ("x",)
    store._routes.update(kept)
    store._route_history.update(history)
    watch.look()
    watch.check()
    assert watch.latest is known


def test_a_group_without_routes_in_redis_misses_none():
    """The built-in route, or those of the settings, cannot be gone from Redis."""
    watch = RouteWatch(load_settings().group_routes, MemoryStore(), instance="w-1", gone_s=0.0)
    watch.look()
    watch.check()
    own = load_settings(options={"routes": [{"topics": "mine"}]})
    watch = RouteWatch(own.group_routes, MemoryStore(), instance="w-1", gone_s=0.0)
    watch.start()
    assert not watch._thread.is_alive()  # nobody looks
    watch.check()
