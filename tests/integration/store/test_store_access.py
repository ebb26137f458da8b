"""Rights, secrets and encryption: what the shipped users may do, and how a store logs in."""

import re
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis
import trustme

from deploy.local.services import Flavour, RedisServer, start_redis
from policy_state.algorithms.settings import PolicySettings
from policy_state.errors import InvalidInput, StoreRefused, StoreUnavailable
from policy_state.health.doctor import examine
from policy_state.shadowed import ComparedModel, ShadowCounts
from policy_state.store.admin import Freeze, Pin, Remove, Reset
from policy_state.store.groups import ConsumerGroup, StoredRoutes
from policy_state.store.offsets import Counted
from policy_state.store.redis.keeping import Keeping
from policy_state.store.redis.keys import policy_id
from policy_state.store.redis.shadow import RedisShadow
from policy_state.store.redis.store import RedisStore
from policy_state.store.values import Limits, PartitionDeltas, PolicyMeta
from policy_state.transfer.transfer import export_policy, import_policy
from tests.support.policies.counted import META, ONE
from tests.support.servers.flavours import FLAVOURS
from tests.support.servers.proxies import proxy
from tests.support.servers.redis_users import USERS, add_shipped_users

GROUP = ConsumerGroup("c1", "g")
ROUTE = {"name": "x", "topics": "x"}
OTHER = PolicySettings(alpha=2)


@pytest.fixture(scope="module")
def _servers() -> Iterator[dict[Flavour, RedisServer]]:
    with ExitStack() as stack:
        yield {f: stack.enter_context(start_redis(flavour=f)) for f in FLAVOURS}


@pytest.fixture(params=FLAVOURS)
def server(request: pytest.FixtureRequest, _servers: dict[Flavour, RedisServer]) -> RedisServer:
    """Return an empty server with the users of the shipped file, and the default one still on."""
    started = _servers[request.param]
    with redis.Redis.from_url(started.url) as raw:
        raw.flushall()
        add_shipped_users(raw)
    return started


def url_of(server: RedisServer, role: str, password: str | None = None) -> str:
    """Return the address of the server for a user of the shipped file."""
    return f"redis://offramp-{role}:{password or 'change-me-' + role}@{server.address}/0"


def part(first: int, upto: int, *domains: str) -> PartitionDeltas:
    """Return a part with one text of each domain."""
    return PartitionDeltas("t1", 0, first, upto, dict.fromkeys(domains, ONE))


def write_routes(store: RedisStore) -> None:
    """Write one route."""
    store.write_routes("g", [ROUTE], revision=0, action="add", detail={}, by="anna", reason="")


def test_the_file_has_no_password_until_its_hashes_are_put_in(tmp_path: Path) -> None:
    """As shipped nobody can log in; the commands of the page put hashes in, which the server takes.

    The default user stays on here, because the server's start is awaited with it.
    """
    page = (USERS.parents[2] / "docs" / "policy-operations.md").read_text(encoding="utf-8")
    (commands,) = re.findall(r"^    for user in (?:.*\n)(?:    .*\n)+", page, re.MULTILINE)
    rules = USERS.read_text()
    assert not re.search(r"[ ][><#]|nopass", rules)
    file = tmp_path / "users.acl"
    for on in (False, True):
        file.write_text(rules.replace("default off", "default on nopass ~* &* +@all"))
        if on:
            for left in tmp_path.glob("*.password"):
                left.unlink()
            subprocess.run(["sh", "-euc", commands], cwd=tmp_path, check=True, timeout=60)
        with start_redis(args=("--aclfile", str(file))) as server:
            for role in ("worker", "viewer"):
                password = tmp_path / f"{role}.password"
                if not on:
                    password.write_text("")
                url = f"redis://offramp-{role}@{server.address}/0"
                with RedisStore(url, password_file=password) as store:
                    if on:
                        assert store.policies() == ()
                        assert password.read_text().strip() not in file.read_text()
                        assert password.stat().st_mode & 0o077 == 0
                    else:
                        with pytest.raises((StoreRefused, InvalidInput)):
                            store.policies()


def test_every_user_of_the_file_is_limited_to_our_keys() -> None:
    """The file turns the default user off and gives nobody a category, a channel or other keys."""
    lines = USERS.read_text().splitlines()
    assert lines[0] == "user default off"
    for line in lines[1:]:
        rules = line.split()[2:]
        assert "-@all" in rules
        assert [rule for rule in rules if rule[0] in "~%"] == ["~offramp:*"]
        assert not [rule for rule in rules if rule.startswith(("+@", "allkeys", "allcommands"))]


def test_a_worker_may_do_everything_a_store_does(server: RedisServer) -> None:
    """Counting, changing, importing, expiring: nothing needs more than the file gives."""
    with RedisStore(url_of(server, "worker")) as store:
        store.open(PolicyMeta("p", "f1", (1, 3, 7, 12), limits=Limits(rare_idle_ms=1)))
        store.apply([part(0, 3, "a", "b", "c")])
        store.apply([part(5, 6, "d")])
        store.apply([part(3, 5, "d")])
        for change in (Pin(1, for_ms=10), Freeze(), Reset(), Reset(keep=0.5), Remove()):
            store.change("d", change, by="anna", reason="why")
        store.configure(OTHER, Limits(), revision=1, by="anna", reason="")
        document = export_policy(store)
        store.restart(by="anna", reason="")
        import_policy(store, document, name="q", replace_known=True, by="anna", reason="")
        store.adopt_watermarks({"t2/0": Counted(5, ((1, 2),))})
        store.heartbeat("w1", {"events": 1}, ttl_s=5)
        assert store.workers().keys() == {"w1"}
        assert {finding.check for finding in examine(store).findings} == {"gaps"}  # as adopted
        assert store.audit()
        write_routes(store)
        assert store.routes("g").routes == (ROUTE,)
        assert store.routes("g").revision == 1
        assert store.route_history("g")
        assert store.begin_group(GROUP, {"t1/0": 3})
        store.keep_positions(GROUP, {"t1/0": 5})
        assert store.group_began(GROUP)
        assert store.position(GROUP, "t1/0") == 5
        store.change("a", Pin(1), by="anna", reason="why")
        keeping = Keeping(store, group="g", policy="q")
        kept = {key: value for key, value in keeping.news({}).items() if value is not None}
        store.server.command("DEL", "offramp:{routes:g}:audit", store.bound()[0].key("audit"))
        store.server.command("DEL", store.bound()[0].domain("a"))
        assert keeping.restore(kept, by="w1", reason="").domains >= 1
        assert store.read(["a"])["a"].pin == 1


def test_a_viewer_may_look_at_everything(server: RedisServer) -> None:
    """Reading, listing, exporting, examining need no right to write."""
    with RedisStore(url_of(server, "worker")) as store:
        store.open(META)
        store.apply([part(0, 3, "a", "b")])
        store.change("a", Pin(1), by="anna", reason="why")
        store.heartbeat("w1", {"events": 1}, ttl_s=5)
        write_routes(store)
    with RedisStore(url_of(server, "viewer")) as viewer:
        assert viewer.policies() == (META,)
        viewer.open(META)
        assert set(viewer.domains()) == {"a", "b"}
        assert viewer.read(["a"])["a"].pin == 1
        assert viewer.totals().stats.texts == 2
        assert len(export_policy(viewer).domains) == 2
        assert not viewer.positions(GROUP).began
        assert viewer.audit()[0].by == "anna"
        assert viewer.workers().keys() == {"w1"}
        assert examine(viewer).healthy
        assert viewer.routes("g").routes == (ROUTE,)
        assert viewer.route_history("g")[0].by == "anna"
        assert Keeping(viewer, group="g", policy=META.name).news({})


def test_a_shadow_may_write_what_it_compares_and_nothing_else(server: RedisServer) -> None:
    """It needs a server that distinguishes reading from writing, as all since Redis 7 do."""
    rules = (USERS.parent / "shadow.acl").read_text(encoding="utf-8").split()[2:]
    with redis.Redis.from_url(server.url) as raw:
        if raw.info("server")["redis_version"].startswith("6."):
            pytest.skip("rights to read keys and not to write them came with Redis 7")
        raw.execute_command(
            "ACL", "SETUSER", "offramp-shadow", "reset", *rules, ">change-me-shadow"
        )
    with RedisStore(url_of(server, "worker")) as store:
        store.open(META)
        store.apply([part(0, 3, "a")])
        write_routes(store)
        before = export_policy(store)
    model = ComparedModel("new", (1, 2))
    one = ShadowCounts.zeros(exits=2, live_exits=2)
    with RedisStore(url_of(server, "shadow")) as store:
        assert store.find(META.name) == META
        assert store.policies() == (META,)
        assert store.routes("g").routes == (ROUTE,)
        shadow = RedisShadow(store.server, META.name)
        assert shadow.positions("new") == {}
        counts = {replace(model, fingerprint="live"): {"a": replace(one, stopped=(1, 0))}}
        assert shadow.count(model, {"t/0": (-1, 5)}, counts) == ()
        assert shadow.positions("new") == {"t/0": 5}
        for attempt in (
            lambda: store.open(META),
            lambda: write_routes(store),
            lambda: store.server.command(
                "HSET", f"offramp:{{{policy_id(META.name)}}}:meta", "x", "1"
            ),
            lambda: store.heartbeat("w", {"a": 1}, ttl_s=1),
            lambda: store.server.command("DEL", "offramp:policies"),
        ):
            with pytest.raises(StoreRefused) as caught:
                attempt()
            assert caught.value.cause == "permission"
    with RedisStore(url_of(server, "viewer")) as viewer:
        viewer.open(META)
        assert export_policy(viewer) == before
        shadow = RedisShadow(viewer.server, META.name)
        assert [shadow.read(pair, "a").texts for pair in shadow.pairs()] == [1]
        with pytest.raises(StoreRefused):
            shadow.count(model, {"t/0": (5, 6)}, counts)


def test_a_viewer_can_change_nothing(server: RedisServer) -> None:
    """Whatever writes is refused with the reason, and nothing is half-written."""
    with (
        RedisStore(url_of(server, "worker")) as store,
        RedisStore(url_of(server, "viewer")) as viewer,
    ):
        store.open(META)
        store.apply([part(0, 3, "a")])
        before = export_policy(store)
        viewer.open(META)
        attempts: list[Callable[[], object]] = [
            lambda: viewer.apply([part(3, 4, "a", "b")]),
            lambda: viewer.change("a", Reset(), by="x", reason=""),
            lambda: viewer.configure(OTHER, Limits(), revision=1, by="x", reason=""),
            lambda: viewer.load(dict(before.domains), replace=True),
            lambda: viewer.restart(by="x", reason=""),
            lambda: viewer.adopt_watermarks({"t9/0": Counted(5)}),
            lambda: viewer.heartbeat("w", {"a": 1}, ttl_s=1),
            lambda: write_routes(viewer),
            lambda: viewer.open(PolicyMeta("new", "f1", (1, 2))),
        ]
        for attempt in attempts:
            with pytest.raises(StoreRefused, match="lets this user not do that") as caught:
                attempt()
            assert caught.value.cause == "permission"
        assert export_policy(store) == before
        assert store.audit() == ()
        assert store.routes("g") == StoredRoutes(0)
        assert store.route_history("g") == ()


@pytest.mark.parametrize("denied", ["zadd", "hset", "hdel", "zrem", "del"])
def test_a_right_that_is_missing_leaves_nothing_half_written(
    server: RedisServer, denied: str
) -> None:
    """A user who lacks one of the commands of a script changes nothing at all with it."""
    with redis.Redis.from_url(server.url) as raw:
        rules: tuple[Any, ...] = ("ACL", "SETUSER", "offramp-worker", f"-{denied}")
        with RedisStore(url_of(server, "worker")) as store:
            store.open(replace(META, limits=Limits(rare_idle_ms=1)))
            store.apply([part(0, 3, "a", "idle")])
            time.sleep(0.005)  # so that the next call removes what is idle
            before = export_policy(store)
            raw.execute_command(*rules)
            with pytest.raises(StoreRefused):
                store.apply([part(3, 4, "a", "b")])
            with pytest.raises(StoreRefused):
                store.change("a", Reset(), by="anna", reason="")
            assert export_policy(store) == before
            assert store.audit() == ()


def test_a_change_is_made_with_its_audit_or_not_at_all(server: RedisServer) -> None:
    """A user who may not write the audit changes nothing; counting, which needs none, continues."""
    with redis.Redis.from_url(server.url) as raw, RedisStore(url_of(server, "worker")) as store:
        store.open(META)
        store.apply([part(0, 3, "a")])
        before = export_policy(store)
        raw.execute_command("ACL", "SETUSER", "offramp-worker", "-xadd")
        changes: list[Callable[[], object]] = [
            *(
                lambda change=change: store.change("a", change, by="anna", reason="")
                for change in (Pin(1), Freeze(), Reset(), Reset(keep=0.5), Remove())
            ),
            lambda: store.configure(OTHER, Limits(), revision=1, by="anna", reason=""),
            lambda: store.restart(by="anna", reason=""),
            lambda: store.note("x", {}, by="anna", reason=""),
        ]
        for change in changes:
            with pytest.raises(StoreRefused) as caught:
                change()
            assert caught.value.cause == "permission"
        assert export_policy(store) == before
        many = PartitionDeltas("t1", 0, 3, 4, {"a": sum([ONE] * 31, ONE)})
        assert store.apply([many]).snapshots["a"].stats.texts == 33


@pytest.mark.parametrize("denied", ["hset", "xadd"])
def test_routes_are_written_with_their_history_or_not_at_all(
    server: RedisServer, denied: str
) -> None:
    """A user who lacks a right changes neither the routes nor what is said of them."""
    with redis.Redis.from_url(server.url) as raw, RedisStore(url_of(server, "worker")) as store:
        raw.execute_command("ACL", "SETUSER", "offramp-worker", f"-{denied}")
        with pytest.raises(StoreRefused):
            write_routes(store)
        assert store.routes("g") == StoredRoutes(0)
        assert store.route_history("g") == ()


@pytest.mark.parametrize("role", ["worker", "viewer"])
@pytest.mark.parametrize(
    "words",
    [
        ("FLUSHALL",),
        ("FLUSHDB",),
        ("KEYS", "*"),
        ("SCAN", "0"),
        ("CONFIG", "GET", "*"),
        ("ACL", "LIST"),
        ("SHUTDOWN",),
        ("SCRIPT", "FLUSH"),
        ("SUBSCRIBE", "x"),
        ("GET", "offramp:x"),
        ("HGETALL", "other:x"),
        ("EVAL", "return redis.call('HGETALL', 'other:x')", "0"),
        ("EVAL", "return redis.call('FLUSHALL')", "0"),
    ],
)
def test_what_nobody_needs_is_refused(
    server: RedisServer, role: str, words: tuple[str, ...]
) -> None:
    """Emptying, listing or configuring the server, and keys of others, are out of reach."""
    said = r"(?i)no permission|can't run|can't access|NOPERM|ACL failure"
    with (
        redis.Redis.from_url(url_of(server, role)) as user,
        pytest.raises(redis.ResponseError, match=said),
    ):
        user.execute_command(*words)


def test_a_password_comes_from_a_file_and_may_change(server: RedisServer, tmp_path: Path) -> None:
    """The file is read at each new connection and wins over the address; it is never shown."""
    file = tmp_path / "password"
    file.write_text("change-me-worker\n")
    with RedisStore(url_of(server, "worker", "wrong"), password_file=file) as store:
        store.open(META)
        with redis.Redis.from_url(server.url) as raw:
            raw.execute_command("ACL", "SETUSER", "offramp-worker", ">fresh", "<change-me-worker")
            file.write_text("fresh")
            raw.client_kill_filter(_type="normal", skipme=True)
        store.apply([part(0, 1, "a")])
        file.write_text("secret-wrong")
        store.close()
        with pytest.raises(StoreRefused) as caught:
            store.totals()
        assert caught.value.cause == "login"
        assert "secret" not in str(caught.value)
        file.unlink()
        store.close()
        with pytest.raises(InvalidInput, match="password file"):
            store.totals()


def test_traffic_is_encrypted_and_the_server_is_checked(
    server: RedisServer, tmp_path: Path
) -> None:
    """`rediss://` with the right authority works; an unknown one, or plain text, does not."""
    authority, certificate = trustme.CA(), tmp_path / "cert.pem"
    authority.cert_pem.write_to_path(str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with proxy(server.port, tls=context) as encrypted:
        url = f"rediss://offramp-worker:change-me-worker@127.0.0.1:{encrypted.port}/0"
        with RedisStore(url, ca_file=certificate) as store:
            store.open(META)
            assert store.apply([part(0, 1, "a")]).outcomes[0].counted_upto == 1
        for address in (url, url.replace("rediss", "redis")):
            with RedisStore(address, timeout_s=0.5) as wrong, pytest.raises(StoreUnavailable):
                wrong.open(META)
