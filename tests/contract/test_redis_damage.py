"""What the Redis store does where its keys were damaged: it stops, says where, and is repaired."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import redis

from deploy.local.services import RedisServer
from policy_state.algorithms.settings import PolicySettings
from policy_state.errors import FingerprintMismatch, StoreCorrupt
from policy_state.health.doctor import examine
from policy_state.reports.domain import read_reports
from policy_state.stats import COUNT_MAX, ExitStats
from policy_state.store.admin import Pin, Remove, Reset
from policy_state.store.offsets import Counted, Status
from policy_state.store.redis.store import RedisStore
from policy_state.store.values import DomainSnapshot, Limits, PartitionDeltas
from policy_state.transfer.transfer import open_or_start_new
from tests.support.policies.counted import META, ONE, part


@pytest.fixture
def store(redis_server: RedisServer) -> Iterator[RedisStore]:
    """Yield a store with the policy open."""
    with RedisStore(redis_server.url) as opened:
        opened.open(META)
        yield opened


class Keys:
    """The keys of the policy, to be damaged behind the store's back."""

    def __init__(self, raw: redis.Redis, prefix: str, dump: Callable[[], dict[str, str]]) -> None:
        """Keep a plain client, and what the keys begin with."""
        self._raw = raw
        self._prefix = prefix
        self.dump = dump

    def retype(self, name: str) -> None:
        """Make a key one of another type."""
        self._raw.set(self._prefix + name, "of another type")

    def damage(self, name: str, damage: str) -> None:
        """Give a key another type, or a field another value: `another type`, or field and value."""
        if damage == "another type":
            self.retype(name)
        else:
            self.put(name, *damage.split())

    def put(self, name: str, field: str, value: str) -> None:
        """Write a field."""
        self._raw.hset(self._prefix + name, field, value)


@pytest.fixture
def keys(store: RedisStore, raw: redis.Redis, dump: Callable[[], dict[str, str]]) -> Keys:
    """Return the keys of the policy."""
    return Keys(raw, f"offramp:{{{store.open(META).id}}}:", dump)


@pytest.mark.parametrize("broken", ["meta", "wm", "gaps", "idx", "agg", "d:books"])
def test_a_key_of_another_type_stops_the_whole_call(
    store: RedisStore, keys: Keys, broken: str
) -> None:
    """Where any key is of the wrong type nothing is written, not even for the other domains."""
    store.apply([part(0, 1, {"music": ONE})])
    keys.retype(broken)
    before = keys.dump()
    with pytest.raises(StoreCorrupt) as caught:
        store.apply([part(2, 3, {"hotels": ONE, "books": ONE})], also_read=["music"])
    assert caught.value.cause == "wrong-type"
    assert keys.dump() == before


@pytest.mark.parametrize("value", ["", "x", "-1", "1.5", "1e3", " 1", str(COUNT_MAX + 1), "9" * 30])
@pytest.mark.parametrize(
    "stored",
    [
        "wm t1/0",
        "agg 0",
        "agg gone",
        "d:books 1",
        "d:books 9",
        "d:music 0",
        "d:books epoch",
        "d:books labels",
    ],
)
def test_a_stored_value_that_is_no_count_stops_the_whole_call(
    store: RedisStore, keys: Keys, stored: str, value: str
) -> None:
    """One invalid field, in a domain to change or only to return, and nothing is written."""
    store.apply([part(0, 1, {"music": ONE})])
    key, field = stored.split()
    keys.put(key, field, value)
    before = keys.dump()
    with pytest.raises(StoreCorrupt, match=rf"{key} field {field} holds .*nothing was written"):
        store.apply([part(1, 2, {"hotels": ONE, "books": ONE})], also_read=["music"])
    assert keys.dump() == before


@pytest.mark.parametrize(
    "value",
    [
        "5",
        "5  5",
        "5 0 0 0 ",
        "5 0 0 0 1 0",
        "5" + " 0" * 3 * (META.exits + 1),
        "5 1 0 0" + " 0" * 3 * (META.exits - 1),
        "5 0 0 0" + " 1 1 1" * (META.exits - 1),
        "5 0 0 0" + " 6 1 1" * (META.exits - 1),
        f"{10**15}" + " 0" * 3 * META.exits,
    ],
)
def test_stored_labels_that_cannot_be_stop_the_whole_call(
    store: RedisStore, keys: Keys, value: str
) -> None:
    """Nothing is counted that the caller is told was not, and it learns which domain it is."""
    store.apply([part(0, 1, {"music": ONE})])
    keys.put("d:music", "labels", value)
    before = keys.dump()
    with pytest.raises(StoreCorrupt, match=r"d:music field labels holds .*nothing was written"):
        store.apply([part(1, 2, {"hotels": ONE})], also_read=["music"])
    assert keys.dump() == before


def configure(store: RedisStore) -> None:
    """Change a setting."""
    store.configure(PolicySettings(alpha=2), Limits(), revision=1, by="anna", reason="")


CALLS: dict[str, Callable[[RedisStore], object]] = {
    "pin": lambda store: store.change("books", Pin(1), by="anna", reason=""),
    "reset": lambda store: store.change("music", Reset(), by="anna", reason=""),
    "configure": configure,
    "restart": lambda store: store.restart(by="anna", reason=""),
    "load": lambda store: store.load(
        {"hotels": DomainSnapshot(ONE, 0, None), "books": DomainSnapshot(ONE, 0, None)},
        replace=True,
    ),
    "adopt": lambda store: store.adopt_watermarks({"t2/0": Counted(9, ((2, 4),))}),
}


@pytest.mark.parametrize(
    ("call", "broken"),
    [
        *((call, "meta") for call in CALLS),
        *((call, "audit") for call in ("pin", "reset", "configure", "restart")),
        *((call, "idx") for call in ("pin", "reset", "configure", "restart", "load")),
        *((call, "agg") for call in ("pin", "reset", "configure", "load")),
        *((call, "d:books") for call in ("pin", "load")),
        *(("adopt", key) for key in ("wm", "gaps")),
    ],
)
def test_no_change_is_half_done_at_a_key_of_another_type(
    store: RedisStore, keys: Keys, call: str, broken: str
) -> None:
    """What operators ask for is done as a whole, or not at all."""
    store.apply([part(2, 9, {"music": ONE})])
    keys.retype(broken)
    before = keys.dump()
    with pytest.raises(StoreCorrupt):
        CALLS[call](store)
    assert keys.dump() == before


@pytest.mark.parametrize("broken", ["wm", "gaps", "agg"])
def test_a_restart_writes_anew_what_is_of_another_type(
    store: RedisStore, keys: Keys, broken: str
) -> None:
    """What a restart replaces need not be readable: all is counted again after it."""
    store.apply([part(2, 9, {"music": ONE})])
    keys.retype(broken)
    store.restart(by="anna", reason="damaged")
    assert store.watermarks() == ({} if broken == "wm" else {"t1/0": Counted(9, ((0, 9),))})
    store.apply([part(9, 10, {"music": ONE})])
    assert store.apply([part(0, 9, {"music": ONE + ONE})]).outcomes[0].status is Status.APPLIED
    assert store.read(["music"])["music"].stats == store.totals().stats == ONE + ONE + ONE
    assert store.watermarks() == {"t1/0": Counted(10)}


@pytest.mark.parametrize("value", ["", "x", "-1", str(COUNT_MAX + 1)])
def test_a_restart_forgets_a_watermark_that_is_none(
    store: RedisStore, keys: Keys, value: str
) -> None:
    """A partition whose mark cannot be read is counted from its beginning, the others as ever."""
    store.apply([part(0, 9, {"music": ONE}), PartitionDeltas("t1", 1, 0, 5, {"music": ONE})])
    keys.put("wm", "t1/0", value)
    keys.put("agg", "0", value)
    store.restart(by="anna", reason="damaged")
    assert store.watermarks() == {"t1/1": Counted(5, ((0, 5),))}
    assert store.apply([part(4, 9, {"music": ONE})]).outcomes[0].status is Status.APPLIED
    assert store.watermarks()["t1/0"] == Counted(9, ((0, 4),))


DAMAGE = ["0 x", "1 -1", "epoch x", "gen x", "pin_until 99999999999999999999", "another type"]


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_domain_that_cannot_be_read_can_be_removed(
    store: RedisStore, keys: Keys, damage: str
) -> None:
    """Removing clears whatever a domain's key holds; its next text brings it back."""
    store.apply([part(0, 9, {"music": ONE, "books": ONE})])
    keys.damage("d:books", damage)
    with pytest.raises(StoreCorrupt):
        store.read(["books"])
    after = store.change("books", Remove(), by="anna", reason="damaged").after
    assert after == store.read(["books"])["books"] == DomainSnapshot.unseen(4)
    assert store.domains() == ("music",)
    assert [entry.action for entry in store.audit()] == ["remove"]
    assert store.apply([part(9, 10, {"books": ONE})]).snapshots["books"].stats == ONE


def test_a_restart_passes_over_counters_that_cannot_be_read(store: RedisStore, keys: Keys) -> None:
    """Counters of before a restart are not looked at: the domain counts on from zero."""
    store.apply([part(0, 9, {"music": ONE, "books": ONE})])
    keys.put("d:books", "0", "abc")
    keys.put("d:books", "1", "-1")
    store.restart(by="anna", reason="damaged")
    assert store.read(["books"])["books"].stats == ExitStats.zeros(4)
    applied = store.apply([part(0, 9, {"music": ONE, "books": ONE})])
    assert applied.snapshots["books"].stats == applied.snapshots["music"].stats == ONE
    assert examine(store).healthy


def test_no_pin_is_stored_that_cannot_be_read_again(store: RedisStore) -> None:
    """The script itself refuses a time beyond what it counts to, whoever calls it."""
    names, _ = store.bound()
    six = names.several("meta", "wm", "gaps", "idx", "agg", "audit")
    given = '{"exit": 1, "for_ms": 86399999913600000, "note": "", "exits": 4, "size": 7}'
    asked: list[str | int] = ["token", 10, "pin", given, "action", "pin"]
    answer = store.server.script("change.lua", [*six, names.domain("books")], asked)
    assert answer[:3] == ["overflow", names.domain("books"), "pin_until"]
    assert (store.audit(), store.domains()) == ((), ())


@pytest.mark.parametrize(
    ("name", "damage", "subject"),
    [
        ("wm", "t1/0 abc", "watermarks"),
        ("wm", "t1/0 -1", "watermarks"),
        ("wm", "another type", "watermarks"),
        ("gaps", "t1/0 junk", "watermarks"),
        ("gaps", "t1/0 9-5", "watermarks"),
        ("gaps", "t1/0 1-2-3", "watermarks"),
        ("gaps", "another type", "watermarks"),
        ("agg", "0 abc", "all domains"),
        ("agg", "gone abc", "all domains"),
        ("agg", "another type", "all domains"),
        ("idx", "another type", "index"),
    ],
)
def test_the_doctor_reports_damage_and_goes_on(
    store: RedisStore, keys: Keys, name: str, damage: str, subject: str
) -> None:
    """What cannot be read is a finding beside the others, and an error to who asks for it alone."""
    store.apply([part(0, 9, {"music": ONE, "books": ONE})])
    keys.put("d:books", "epoch", "x")
    keys.damage(name, damage)
    found = {(finding.check, finding.subject) for finding in examine(store).findings}
    assert ("corrupt", subject) in found
    assert ("corrupt", "books") in found or name == "idx"
    with pytest.raises(StoreCorrupt):
        store.watermarks(), store.totals(), store.domains()


@pytest.mark.parametrize("gaps", ["junk", "9-5", "0-2 x", "1-2-3", "-1", f"0-{COUNT_MAX + 1}"])
def test_gaps_that_are_none_stop_the_whole_call(store: RedisStore, keys: Keys, gaps: str) -> None:
    """Offsets are never taken for counted because a gap cannot be read."""
    store.apply([part(2, 9, {"music": ONE})])
    keys.put("gaps", "t1/0", gaps)
    before = keys.dump()
    for first, upto in ((0, 2), (20, 30)):
        with pytest.raises(StoreCorrupt, match=r"gaps field t1/0 holds .*nothing was written"):
            store.apply([part(first, upto, {"music": ONE})])
    assert keys.dump() == before


def test_a_revision_that_is_none_is_told(store: RedisStore, keys: Keys) -> None:
    """Workers and operators are told which field of the policy it is."""
    keys.put("meta", "revision", "x")
    for ask in (lambda: store.open(META), store.describe, lambda: store.apply([])):
        with pytest.raises(StoreCorrupt, match="meta field revision"):
            ask()


def test_a_listed_name_that_is_none_is_told(store: RedisStore, raw: redis.Redis) -> None:
    """What is no encoded domain in the index is damage, not a crash."""
    names, _ = store.bound()
    raw.zadd(names.key("idx"), {"%FF": 1})
    with pytest.raises(StoreCorrupt, match="idx"):
        store.domains()


def test_settings_of_a_newer_version_stop_no_worker(store: RedisStore, keys: Keys) -> None:
    """Versions run side by side while a fleet is updated: what one does not know, it keeps."""
    keys.put("meta", "settings", '{"alpha": 2.0, "zeal": 1}')
    keys.put("meta", "max_zeal", "50")
    opened = store.open(META)
    assert opened.meta.settings == PolicySettings(alpha=2.0)
    store.configure(
        PolicySettings(alpha=3.0), Limits(), revision=opened.revision, by="anna", reason=""
    )
    assert "zeal" in str(keys.dump())
    assert store.describe().meta.settings == PolicySettings(alpha=3.0)


@pytest.mark.parametrize("damage", ["schema 2", "layers {", "settings x", "another type"])
def test_a_policy_that_cannot_be_read_blocks_no_other(
    store: RedisStore, raw: redis.Redis, damage: str
) -> None:
    """Others are found, listed and opened, also for a new model; asked for by name it raises."""
    other = store.open(replace(META, name="other")).id
    Keys(raw, f"offramp:{{{other}}}:", dict).damage("meta", damage)
    assert store.policies() == (META,)
    assert store.find(META.name) == META
    assert open_or_start_new(store, META, on_mismatch="new", by="w").meta == META
    assert read_reports(store, META.name) == []
    with pytest.raises((StoreCorrupt, FingerprintMismatch)):
        store.find("other")
