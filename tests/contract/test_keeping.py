"""What people have set, compared with a copy of it and brought back from one, on real servers."""

from dataclasses import replace
from typing import Any

import pytest

from policy_state.errors import SettingsConflict
from policy_state.labelled import LabelledDuels
from policy_state.stats import ExitStats
from policy_state.store.admin import Freeze, Label, Pin, Remove, Reset, Unlabel, Unpin
from policy_state.store.redis.keeping import Keeping
from policy_state.store.redis.store import RedisStore
from policy_state.store.values import PartitionDeltas, PolicyMeta

META = PolicyMeta("default", "f1", (1, 3, 7, 12))
WHO: dict[str, Any] = {"by": "anna", "reason": "a test"}
LABELS = Label(LabelledDuels(60, (0, 40, 9, 0), (0, 30, 2, 0), (0, 10, 7, 0)))
SIGNED = {"by": "w0", "reason": "lost"}


@pytest.fixture
def store(redis_server):
    with RedisStore(redis_server.url) as store:
        store.open(META)
        yield store


@pytest.fixture
def keeping(store):
    return Keeping(store, group="g", policy="default")


def copied(keeping, kept):
    """Take into a copy what it lacks, as the worker that copies does."""
    for key, value in keeping.news(kept).items():
        if value is None:
            del kept[key]
        else:
            kept[key] = value
    return kept


def routes(store, *names, revision=0):
    rows = [{"name": name, "topics": name} for name in names]
    store.write_routes("g", rows, revision=revision, action="route-add", detail={}, **WHO)


def texts(store, *domains):
    one = ExitStats.from_labels([0], exits=4)
    store.apply([PartitionDeltas("t", 0, 0, 1, dict.fromkeys(domains, one))])


def empty(store):
    store.server.command("FLUSHDB")


def test_a_copy_has_all_that_was_set_and_then_nothing_is_news(store, keeping):
    """Routes, settings, pins, freezes and audits are copied once; what ends leaves the copy."""
    routes(store, "x")
    store.change("a", Pin(1), **WHO)
    store.change("b", Freeze(), **WHO)
    kept = copied(keeping, {})
    assert {key[0] for key in kept} == {"routes", "route-audit", "policy", "domain", "audit"}
    assert keeping.news(kept) == {}
    assert keeping.lost(kept) == {}
    store.change("a", Unpin(), **WHO)
    first = next(iter(keeping.news(kept)))
    assert first == ("domain", "default", "a")  # before the change that tells of it
    assert ("domain", "default", "a") not in copied(keeping, kept)
    assert keeping.news(kept) == {}


def test_an_emptied_store_is_what_it_was_and_stays_so(store, keeping):
    """Restored a second time nothing changes, and the copy takes up what comes then."""
    routes(store, "x")
    routes(store, "x", "y", revision=1)
    store.change("a", Pin(1, for_ms=3_600_000), **WHO)
    store.change("b", Freeze(), **WHO)
    changed = replace(META.settings, alpha=0.7)
    store.configure(changed, replace(META.limits, domains=9), revision=1, **WHO)
    kept = copied(keeping, {})
    before = store.read(["a", "b"]), store.audit(), store.routes("g"), store.describe().meta
    empty(store)
    assert keeping.lost(kept) == {"routes": 2, "policy": 3}
    assert keeping.news(kept) == {}  # an empty store is no news
    assert keeping.restore(kept, **SIGNED).changes == 2  # of the routes: there is no policy yet
    store.open(META)
    done = keeping.restore(kept, **SIGNED)
    assert (done.settings, done.domains, done.changes) == (True, 2, 3)
    told, *audit = store.audit()
    assert (told.action, told.by) == ("restore", "w0")
    assert (store.read(["a", "b"]), tuple(audit), store.routes("g")) == before[:3]
    assert store.describe().meta == before[3]
    again = keeping.restore(kept, **SIGNED)
    assert (again.routes, again.settings, again.domains, again.changes) == (False, False, 0, 0)
    store.change("a", Unpin(), **WHO)
    assert ("domain", "default", "a") not in copied(keeping, kept)


def test_what_was_set_since_the_loss_stays(store, keeping):
    """A pin, settings and routes that people have set after the loss win over those before it."""
    routes(store, "x")
    for domain in "abc":
        store.change(domain, Pin(1), **WHO)
    store.configure(replace(META.settings, alpha=0.7), META.limits, revision=1, **WHO)
    kept = copied(keeping, {})
    empty(store)
    store.open(META)
    store.change("a", Pin(3), **WHO)
    store.change("b", Pin(3), **WHO)
    store.change("b", Remove(), **WHO)
    store.configure(replace(META.settings, alpha=0.2), META.limits, revision=1, **WHO)
    routes(store, "mine")
    keeping.restore(kept, **SIGNED)
    found = store.read("abc")
    assert [found[domain].pin for domain in "abc"] == [3, None, 1]
    assert store.describe().meta.settings.alpha == 0.2
    assert [route["name"] for route in store.routes("g").routes] == ["mine"]
    assert {entry.action for entry in store.audit()} == {"pin", "configure", "remove", "restore"}
    assert keeping.lost(copied(keeping, kept)) == {}


def test_labels_are_copied_and_come_back(store, keeping):
    """So are those of an import, which no entry of the audit names; taken back they leave."""
    texts(store, "a", "b")
    store.change("a", LABELS, **WHO)
    kept = copied(keeping, {})
    store.load({"b": replace(store.read(["b"])["b"], labels=LABELS.labels)}, replace=True)
    store.note("import", {}, **WHO)
    copied(keeping, kept)
    assert kept["domain", "default", "a"] == {"labels": LABELS.labels.to_text()}
    assert kept["domain", "default", "b"] == kept["domain", "default", "a"]
    empty(store)
    store.open(META)
    keeping.restore(kept, **SIGNED)
    assert {store.read("ab")[domain].labels for domain in "ab"} == {LABELS.labels}
    store.change("a", Unlabel(), **WHO)
    store.change("b", Reset(), **WHO)
    assert {key[0] for key in copied(keeping, kept)} == {"policy", "audit"}


def test_labels_of_before_a_reset_do_not_come_back(store, keeping):
    """Where a domain was reset since the loss its pin comes back, and its labels do not."""
    texts(store, *"abc")
    for domain in "abc":
        store.change(domain, Pin(1), **WHO)
        store.change(domain, LABELS, **WHO)
    kept = copied(keeping, {})
    empty(store)
    store.open(META)
    texts(store, *"abc")
    store.change("a", Reset(), **WHO)
    store.change("b", Label(LabelledDuels(1, (0, 1, 0, 0), (0,) * 4, (0,) * 4)), **WHO)
    keeping.restore(kept, **SIGNED)
    found = store.read("abc")
    assert (found["a"].pin, found["c"].pin) == (1, 1)
    assert found["a"].labels is None
    assert found["b"].labels.texts == 1
    assert found["c"].labels == LABELS.labels
    assert keeping.lost(copied(keeping, kept)) == {}


def test_an_older_backup_is_brought_up_to_date(store, keeping):
    """What was pinned when the backup was made and unpinned later is not pinned."""
    store.change("a", Pin(1), **WHO)
    kept = copied(keeping, {})
    keys, _ = store.bound()
    pinned = store.server.command("HGETALL", keys.domain("a"))
    store.change("a", Unpin(), **WHO)
    store.change("c", Pin(2), **WHO)
    copied(keeping, kept)
    _, *since = sorted(key[-1] for key in kept if key[0] == "audit")
    store.server.command("XDEL", keys.key("audit"), *since)
    store.server.command("DEL", keys.domain("c"))
    flat = [text for pair in pinned.items() for text in pair]
    store.server.command("HSET", keys.domain("a"), *flat)
    assert store.read(["a"])["a"].pin == 1
    assert keeping.lost(kept) == {"policy": 2}
    keeping.restore(kept, **SIGNED)
    found = store.read(["a", "c"])
    assert (found["a"].pin, found["c"].pin) == (None, 2)


def test_counters_of_another_model_take_nothing_of_the_copy(redis_server, store, keeping):
    """A policy of the name that was made for another model since replaces the copy of the old."""
    store.change("a", Pin(3), **WHO)
    kept = copied(keeping, {})
    empty(store)
    with RedisStore(redis_server.url) as other:
        other.open(PolicyMeta("default", "f2", (1, 3)))
        assert keeping.lost(kept) == {}
        assert keeping.restore(kept, **SIGNED).domains == 0
        assert other.read(["a"])["a"].pin is None
        other.change("b", Pin(1), **WHO)
        copied(keeping, kept)
        assert {key[2] for key in kept if key[0] == "domain"} == {"b"}
        assert kept["policy", "default"]["fingerprint"] == "f2"
        assert [key[0] for key in kept].count("audit") == 1
        assert keeping.news(kept) == {}


def test_another_policy_and_another_group_are_not_mixed_in(store, keeping):
    """Names that hold anything at all, in keys that are lists, are those of one policy only."""
    with_slash = Keeping(store, group="g", policy="default/x")
    store.change('a"/{b}', Pin(1), **WHO)
    kept = copied(keeping, {})
    assert with_slash.lost(kept) == {}
    assert with_slash.news(kept) == {}
    assert Keeping(store, group="other", policy="default").lost(kept) == {}


def test_an_audit_that_is_full_keeps_its_latest_entries(store, keeping):
    """Of 10,000 entries and one more the oldest leaves the copy."""
    store.change("a", Pin(1), **WHO)
    kept = copied(keeping, {})
    kept |= {("audit", "default", f"{n}-0"): {"action": "pin"} for n in range(1, 10_000)}
    assert keeping.news(kept) == {}
    store.change("a", Reset(), **WHO)
    gone = [key for key, value in keeping.news(kept).items() if value is None]
    assert gone == [("audit", "default", "1-0")]


def test_routes_that_somebody_changed_meanwhile_are_not_written_over(store, keeping):
    """The revision that was found lost is held against the one in force."""
    routes(store, "x")
    kept = copied(keeping, {})
    empty(store)
    routes(store, "new")
    with pytest.raises(SettingsConflict):
        routes(store, "newer")
    assert not keeping.restore(kept, **SIGNED).routes
    assert store.routes("g").routes[0]["name"] == "new"
