"""`offramp policy` on a Redis that somebody edited by hand: it tells, continues, and repairs."""

from collections.abc import Iterator
from typing import Any

import pytest

from consumer.errors import InvalidSettings
from policy_state.errors import InvalidInput
from policy_state.stats import ExitStats
from policy_state.store.redis.store import RedisStore
from policy_state.store.values import PartitionDeltas, PolicyMeta
from tests.support.policy_cli import data, offramp_policy

META = PolicyMeta("default", "f1", (1, 3, 7, 12))
ONE = ExitStats.from_labels([0, 1, 1], exits=4)


@pytest.fixture
def store(redis_url: str) -> Iterator[RedisStore]:
    """Yield a store with three domains."""
    with RedisStore(redis_url) as opened:
        opened.open(META)
        deltas = {"hotels": ONE, "books": ONE, "music": ONE}
        opened.apply([PartitionDeltas("t1", 0, 0, 9, deltas)])
        yield opened


@pytest.fixture
def offramp(redis_url: str) -> Any:
    """Return a function that runs `offramp policy` and returns what came of it."""
    return offramp_policy(redis_url)


@pytest.mark.parametrize(
    "damage",
    [("HSET", "0", "abc"), ("HSET", "pin_until", "99999999999999999999"), ("SET", "of no type")],
)
def test_one_damaged_domain_hides_no_other_and_can_be_removed(
    store: RedisStore, offramp: Any, damage: tuple[str, ...]
) -> None:
    """The list shows the others and names it, the doctor finds it, and removing it clears it."""
    keys, _ = store.bound()
    key = keys.domain("books")
    if damage[0] == "SET":
        store.server.command("DEL", key)
    store.server.command(damage[0], key, *damage[1:])
    listed = offramp("list", "-o", "json")
    assert {row["domain"] for row in data(listed)["domains"]} == {"hotels", "music"}
    assert [row["domain"] for row in data(listed)["damaged"]] == ["books"]
    assert "books cannot be read: " in offramp("list").stderr
    found = data(offramp("doctor", "--no-log", "-o", "json", code=4))["findings"]
    assert ("corrupt", "books") in {(f["check"], f["subject"]) for f in found}
    assert "cannot be read" in offramp("remove", "books", code=3).stderr
    offramp("remove", "books", "--yes")
    assert data(offramp("list", "-o", "json"))["damaged"] == []
    store.apply([PartitionDeltas("t1", 0, 9, 10, {"books": ONE})])


@pytest.mark.parametrize("time", ["999999999d", "4000000d", "9" * 400 + "d"])
def test_a_pin_that_outlasts_the_calendar_is_refused(
    store: RedisStore, offramp: Any, time: str
) -> None:
    """A time of centuries is told to be too long, and nothing changes."""
    refused = offramp("pin", "books", "--exit", "1", "--for", time, "--reason", "x", "-y", code=1)
    assert isinstance(refused.exception, InvalidInput | InvalidSettings)
    assert store.audit() == ()
    assert store.read(["books"])["books"].pin is None


def test_a_stored_time_of_no_calendar_is_shown_as_it_is(store: RedisStore, offramp: Any) -> None:
    """What another program wrote down for the year 12978 can be looked at, and taken back."""
    keys, _ = store.bound()
    mapping = ("pin", "1", "pin_until", "347376297600000")
    store.server.command("HSET", keys.domain("books"), *mapping)
    assert "until 347376297600000 ms" in offramp("show", "books").stdout
    offramp("unpin", "books", "--yes")
    assert store.read(["books"])["books"].pin is None


def test_a_policy_of_a_newer_version_blocks_no_other(store: RedisStore, offramp: Any) -> None:
    """The commands continue for policies that can be read, and say that this one is newer."""
    other = store.open(PolicyMeta("other", "f2", (1, 2))).id
    store.server.command("HSET", f"offramp:{{{other}}}:meta", "schema", "2")
    assert len(data(offramp("list", "-o", "json"))["domains"]) == 3
    offramp("audit")
    assert "policy, other, cannot be read: policy other: its counters are of schema 2" in (
        offramp("doctor", "--no-log").stderr
    )
    store.server.command("DEL", f"offramp:{{{other}}}:meta")
    store.server.command("SET", f"offramp:{{{other}}}:meta", "no policy")
    assert "policy, other, cannot be read: a key is of" in offramp("doctor", "--no-log").stderr
    store.server.command("DEL", f"offramp:{{{other}}}:meta")
    assert "other" not in offramp("doctor", "--no-log").stderr
    store.open(PolicyMeta("other", "f2", (1, 2)))
    store.server.command("HSET", f"offramp:{{{other}}}:meta", "schema", "2")
    refused = offramp("list", "--policy", "other", code=1)
    assert "counters are of schema 2" in str(refused.exception)
