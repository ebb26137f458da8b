"""What every store of routes must do, in memory and on real servers."""

import pytest

from policy_state.errors import InvalidInput, SettingsConflict
from policy_state.store.groups import StoredRoutes

FILMS = {"name": "films", "topics": "films", "cost_weight": 0.3}
HOTELS = {"name": "hotels", "topics": "hötels|{x}", "cost_weight": None}


def write(store, routes, *, revision, group="g", action="add", **said):
    said = {"by": "anna", "reason": "why", **said}
    return store.write_routes(
        group, routes, revision=revision, action=action, detail={"name": "x"}, **said
    )


def test_a_group_without_routes_is_at_revision_0(make_store):
    """Before anything was written there are no routes, and that is no error."""
    store = make_store()
    assert store.routes("g") == StoredRoutes(0)
    assert store.routes("g").revision == 0
    assert store.route_history("g") == ()


def test_routes_keep_their_order_and_their_values(make_store):
    """What is written is read by everybody, in order, with a new revision each time."""
    one, other = make_store(), make_store()
    assert write(one, [HOTELS, FILMS], revision=0) == StoredRoutes(1, (HOTELS, FILMS))
    assert other.routes("g") == StoredRoutes(1, (HOTELS, FILMS))
    write(other, [], revision=1)
    assert one.routes("g") == StoredRoutes(2)
    assert one.routes("g").revision == 2


def test_groups_have_routes_of_their_own(make_store):
    """Another group's routes stay as they are, whatever the names."""
    store = make_store()
    write(store, [FILMS], revision=0, group="a:b}")
    write(store, [HOTELS], revision=0, group="ä {x}")
    assert store.routes("a:b}").routes == (FILMS,)
    assert store.routes("ä {x}").routes == (HOTELS,)
    assert store.routes("a").revision == 0


def test_of_two_changes_at_the_same_time_one_is_told(make_store):
    """A change that starts from an old revision writes nothing, neither routes nor history."""
    store = make_store()
    write(store, [FILMS], revision=0)
    for stale in (0, 2):
        with pytest.raises(SettingsConflict, match="revision 1 is in force"):
            write(store, [HOTELS], revision=stale)
    assert store.routes("g") == StoredRoutes(1, (FILMS,))
    assert len(store.route_history("g")) == 1


def test_the_history_tells_who_when_and_why(make_store):
    """Every change is there, the newest first, at most as many as asked for."""
    store = make_store()
    write(store, [FILMS], revision=0, by="bob", reason="a new shop")
    write(store, [], revision=1, action="remove")
    newest, oldest = store.route_history("g")
    assert (newest.action, newest.by, newest.reason) == ("remove", "anna", "why")
    assert (oldest.action, oldest.by, oldest.reason) == ("add", "bob", "a new shop")
    assert oldest.detail == {"name": "x"}
    assert 0 < oldest.time_ms <= newest.time_ms
    assert store.route_history("g", limit=1) == (newest,)
    assert not any(entry.automatic for entry in (newest, oldest))


def test_a_change_is_signed(make_store):
    """Without a name, or with a reason too long to keep, nothing is written."""
    store = make_store()
    for said in ({"by": ""}, {"reason": "x" * 201}):
        with pytest.raises(InvalidInput):
            write(store, [FILMS], revision=0, **said)
    assert store.routes("g") == StoredRoutes(0)


def test_routes_that_are_there_are_not_put_back(make_store):
    """What a worker knows never takes the place of what is in force, nor of routes removed."""
    store = make_store()
    write(store, [FILMS], revision=0)
    write(store, [], revision=1)
    known = StoredRoutes(1, (FILMS,))
    assert not store.put_routes_back("g", known, by="w", reason="")
    assert store.routes("g") == StoredRoutes(2)
    assert len(store.route_history("g")) == 2
