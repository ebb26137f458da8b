"""Keys that go missing alone, evicted or deleted by hand: seen, and nothing is counted twice."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import redis

from deploy.local.services import RedisServer
from policy_state.algorithms.settings import PolicySettings
from policy_state.errors import FingerprintMismatch, StoreCorrupt
from policy_state.health.doctor import examine
from policy_state.health.findings import Severity
from policy_state.health.missing import eviction_findings, route_findings
from policy_state.health.rebuild import PredictedText, rebuild
from policy_state.store.admin import Freeze, Pin, Unpin
from policy_state.store.offsets import Counted, Status
from policy_state.store.redis.store import RedisStore
from policy_state.store.values import DomainSnapshot, Limits
from policy_state.transfer.transfer import export_policy, import_policy, warm_start
from tests.support.policies.counted import META, ONE, part

TEXTS = [PredictedText("t1", 0, offset, "music", (0, 1, 1)) for offset in range(9)]


@pytest.fixture
def store(redis_server: RedisServer) -> Iterator[RedisStore]:
    """Yield a store with the policy open, and a text of each of two domains counted."""
    with RedisStore(redis_server.url) as opened:
        opened.open(META)
        opened.apply([part(3, 9, {"music": ONE, "books": ONE})])
        yield opened


@pytest.fixture
def lose(store: RedisStore, raw: redis.Redis) -> Callable[[str], None]:
    """Return what deletes a key of the policy behind the store's back."""
    keys, _ = store.bound()

    def delete(name: str) -> None:
        assert raw.delete(keys.key(name)) == 1

    return delete


Lose = Callable[[str], None]


def found(store: RedisStore) -> set[tuple[str, str]]:
    """Return check and subject of the problems that an examination finds.

    Nothing is committed, so that offsets below the first part are no texts that are missing.
    """
    return {
        (finding.check, finding.subject)
        for finding in examine(store, committed={}, now_ms=0).findings
        if finding.severity is Severity.PROBLEM
    }


def pin(store: RedisStore, domain: str) -> None:
    """Pin a domain for good."""
    store.change(domain, Pin(2), by="anna", reason="why")


@pytest.mark.parametrize(
    ("name", "problems"),
    [
        ("wm", {("watermark", "watermarks")}),
        ("gaps", {("gaps", "watermarks")}),
        ("idx", {("ledger", "all domains")}),
        ("agg", {("ledger", "all domains")}),
        ("d:music", {("index", "music"), ("ledger", "all domains"), ("pin", "music")}),
    ],
)
def test_a_key_that_is_gone_is_found_before_and_after_counting_goes_on(
    store: RedisStore, lose: Lose, name: str, problems: set[tuple[str, str]]
) -> None:
    """The finding stays while workers write the key anew, and names a command that fixes it."""
    pin(store, "music")
    assert found(store) == set()
    lose(name)
    assert found(store) == problems
    assert all(f.fix for f in examine(store).findings)
    for first in range(9, 15, 2):
        store.apply([part(first + 1, first + 2, {"music": ONE, "new": ONE})])
    assert found(store) == problems - {("index", "music")}
    store.restart(by="anna", reason="")
    assert found(store) == ({("pin", "music")} if name == "d:music" else set())


def test_the_doctor_says_what_went_missing(store: RedisStore, lose: Lose) -> None:
    """The ledger tells an index that is gone from sums that are, and from single domains."""
    for name, said in (
        ("idx", "the index of domains is missing"),
        ("agg", "the sums are missing"),
    ):
        before = export_policy(store)
        lose(name)
        assert said in " ".join(finding.text for finding in examine(store).findings)
        store.server.command("FLUSHALL")
        import_policy(store, before, name=META.name, replace_known=True, by="anna", reason="")
        store.server.command("DEL", store.bound()[0].key("audit"))
        store.open(META)


def test_without_its_watermark_a_part_is_not_counted_again(store: RedisStore, lose: Lose) -> None:
    """Whatever of a lost watermark is sent, in whichever order, what was counted counts once."""
    store.apply([part(0, 5, {"music": ONE}, partition=1)])
    before = store.read(["music", "books"])
    lose("wm")
    again = [part(3, 9, {"music": ONE, "books": ONE}), part(0, 5, {"music": ONE}, partition=1)]
    applied = store.apply(again)
    assert [outcome.status for outcome in applied.outcomes] == [Status.DUPLICATE] * 2
    assert [outcome.counted_upto for outcome in applied.outcomes] == [9, 5]
    for asked in (again, [part(4, 6, {"music": ONE})]):
        assert {o.status for o in store.apply(asked).outcomes} == {Status.DUPLICATE}
    for domain, record in store.read(["music", "books"]).items():
        assert record.stats == before[domain].stats
    assert store.totals().skipped == 3
    later = store.apply([part(9, 10, {"music": ONE})]).outcomes[0]
    assert (later.status, later.gap) == (Status.APPLIED, 0)
    assert ("watermark", "watermarks") in found(store)


def test_a_new_partition_is_counted_from_its_first_text(store: RedisStore) -> None:
    """A partition that was never seen is no lost watermark, nor is one after a restart."""
    assert store.apply([part(7, 8, {"music": ONE}, partition=1)]).outcomes[0].gap == 0
    store.restart(by="anna", reason="")
    for partition in (1, 2):
        part_ = part(8, 9, {"music": ONE}, partition=partition)
        assert store.apply([part_]).outcomes[0].status is Status.APPLIED
    store.adopt_watermarks({"t2/0": Counted(9, ((2, 4),)), "t1/0": Counted(1)})
    assert (store.totals().marks, store.totals().gapped) == (4, 4)
    assert found(store) == set()
    store.apply([part(0, 9, {"music": ONE})])
    assert (store.totals().marks, store.totals().gapped) == (4, 3)
    assert found(store) == set()


def test_how_many_watermarks_there_are_is_counted_where_it_is_not_noted(
    store: RedisStore, raw: redis.Redis
) -> None:
    """Sums that lost the number take it from the watermarks that there are."""
    agg = store.bound()[0].key("agg")
    raw.hdel(agg, "marks", "gapped")
    store.apply([part(1, 5, {"music": ONE}, partition=1)])
    assert (store.totals().marks, store.totals().gapped) == (2, 2)
    assert found(store) == set()


@pytest.mark.parametrize("names", [["wm"], ["wm", "agg"]])
def test_a_rebuild_counts_nothing_twice(store: RedisStore, lose: Lose, names: list[str]) -> None:
    """Counters without watermarks are not added to; the error names the command that fixes it."""
    for name in names:
        lose(name)
    before = store.read(["music", "books"])
    with pytest.raises(StoreCorrupt, match=r"counted twice.*`offramp policy rebuild --fresh`"):
        rebuild(store, TEXTS, upto={("t1", 0): 9})
    assert store.read(["music", "books"]) == before
    store.restart(by="anna", reason="")
    assert rebuild(store, TEXTS, upto={("t1", 0): 9}).counted == 9
    assert store.read(["music"])["music"].stats.texts == 9
    assert found(store) == set()


def test_texts_that_were_brought_need_no_watermarks(store: RedisStore) -> None:
    """A policy that started warm and has counted nothing yet is sound, and can be rebuilt."""
    source = export_policy(store)
    store.open(replace(META, name="warm"))
    warm_start(store, source, weight=1.0, by="anna", reason="")
    assert store.totals().brought == 2
    assert found(store) == set()
    assert rebuild(store, TEXTS, upto={("t1", 0): 9}).counted == 9


def test_a_missing_meta_is_told_and_made_anew_without_mixing(store: RedisStore, lose: Lose) -> None:
    """Nothing says whose the counters were: all start afresh, pins stay, a rebuild brings them."""
    store.restart(by="anna", reason="")
    store.apply([part(9, 12, {"music": ONE})])
    pin(store, "books")
    lose("meta")
    assert store.find(META.name) is None
    assert "its meta is missing" in store.unreadable_policies()[META.name]
    other = replace(META, fingerprint="f2")
    assert store.open(other).created
    assert store.totals().stats.texts == 0
    assert store.read(["music"])["music"].stats.texts == 0
    assert store.read(["books"])["books"].pin == 2
    with pytest.raises(FingerprintMismatch):
        store.open(META)
    store.open(other)
    assert found(store) == {("meta", "all domains")}
    entry = store.audit()[0]
    assert (entry.action, entry.automatic) == ("meta-lost", True)
    assert rebuild(store, TEXTS, upto={("t1", 0): 9}).counted == 9
    store.note("rebuild", {}, by="anna", reason="")
    assert found(store) == set()


def test_settings_that_went_with_the_meta_are_found(store: RedisStore, lose: Lose) -> None:
    """What the audit says was set is held against what is in force, limits too."""
    for alpha, revision in ((3.0, 1), (2.0, 2)):
        new = PolicySettings(alpha=alpha)
        store.configure(new, Limits(domains=7), revision=revision, by="anna", reason="")
    assert found(store) == set()
    lose("meta")
    store.open(META)
    store.note("rebuild", {}, by="anna", reason="")
    lost = [f for f in examine(store).findings if f.check == "settings"]
    assert {f.fix for f in lost} == {
        "offramp policy set alpha=2.0",
        "offramp policy set domains=7",
    }


def test_a_pin_or_freeze_that_is_gone_is_found(store: RedisStore, lose: Lose) -> None:
    """Held by the audit and by no record, for as long as the pin was to last; not if unpinned."""
    pin(store, "books")
    store.change("books", Unpin(), by="anna", reason="")
    store.change("music", Freeze(), by="anna", reason="")
    store.change("unseen", Pin(1, for_ms=3_600_000), by="anna", reason="")
    assert found(store) == set()
    for name in ("books", "music", "unseen"):
        lose(f"d:{name}")
    assert {subject for check, subject in found(store) if check == "pin"} == {"music", "unseen"}
    later = examine(store, now_ms=10**14).findings
    assert {f.subject for f in later if f.check == "pin"} == {"music"}
    store.load({"music": DomainSnapshot(ONE, 0, None)}, replace=True)
    store.note("import", {}, by="anna", reason="")
    assert not [subject for check, subject in found(store) if check == "pin"]


def test_a_missing_audit_is_noted(store: RedisStore, lose: Lose) -> None:
    """The policy knows how many changes the audit was told, and of the latest must find all."""
    pin(store, "music")
    pin(store, "books")
    lose("audit")
    store.change("books", Unpin(), by="anna", reason="")
    (finding,) = (f for f in examine(store).findings if f.check == "audit")
    assert (finding.severity, finding.text) == (
        Severity.NOTE,
        "2 of the latest 3 changes are missing",
    )


def test_a_policy_is_found_without_the_list_of_names(store: RedisStore, raw: redis.Redis) -> None:
    """A name that is gone leads to the same counters, not to a second policy of that name."""
    raw.delete("offramp:policies")
    assert store.find(META.name) == META
    assert not store.open(META).created
    assert store.read(["music"])["music"].stats == ONE
    assert raw.hkeys("offramp:policies") == [META.name]


def test_missing_routes_are_told_from_none(store: RedisStore, raw: redis.Redis) -> None:
    """Where there is a history and no table the routes are lost, not those of a new group."""
    signed = {"by": "anna", "reason": ""}
    assert not store.routes("g").lost
    store.write_routes("g", [{"name": "x"}], revision=0, action="add", detail={}, **signed)
    assert list(route_findings(store, "g")) == []
    raw.delete("offramp:{routes:g}:table")
    assert store.routes("g").lost
    (finding,) = route_findings(store, "g")
    assert (finding.severity, finding.fix) == (Severity.PROBLEM, "offramp route add")
    store.write_routes("g", [{"name": "x"}], revision=0, action="add", detail={}, **signed)
    raw.delete("offramp:{routes:g}:audit")
    assert [f.severity for f in route_findings(store, "g")] == [Severity.NOTE]


def test_a_server_that_evicts_is_found(store: RedisStore, raw: redis.Redis) -> None:
    """What the server does when it is full is read from it; only what expires may go."""
    severities = {}
    for policy in ("noeviction", "allkeys-lru", "allkeys-random", "volatile-lru"):
        raw.config_set("maxmemory-policy", policy)
        severities[policy] = [f.severity for f in eviction_findings(store.evictions())]
    raw.config_set("maxmemory-policy", "noeviction")
    assert severities == {
        "noeviction": [],
        "allkeys-lru": [Severity.PROBLEM],
        "allkeys-random": [Severity.PROBLEM],
        "volatile-lru": [Severity.NOTE],
    }
