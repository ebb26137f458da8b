"""What a Redis says when it cannot serve: each word of it told as passing, and as what it is."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import redis

from deploy.local.process import wait_until
from deploy.local.services import Flavour, RedisServer, start_redis
from policy_state.errors import StoreCorrupt, StoreError, StoreRefused, StoreUnavailable
from policy_state.store.offsets import Status
from policy_state.store.redis.store import RedisStore
from policy_state.store.values import PartitionDeltas
from tests.support.policies.counted import META, ONE
from tests.support.servers.flavours import FLAVOURS

IN_A_SCRIPT = "ERR Error running script (call to f_ab12): @user_script:7: @user_script: 7: -"
PASSING = [
    ("READONLY You can't write against a read only replica.", "read-only"),
    ("READONLY Can not run script with write flag on readonly replica", "read-only"),
    ("OOM command not allowed when used memory > 'maxmemory'.", "out-of-memory"),
    ("LOADING Redis is loading the dataset in memory", "loading"),
    ("LOADING Valkey is loading the dataset in memory", "loading"),
    (
        "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
        "busy",
    ),
    ("BUSY Valkey is busy running a script. You can only call FUNCTION KILL or SHUTDOWN.", "busy"),
    ("CLUSTERDOWN The cluster is down", "cluster-down"),
    ("CLUSTERDOWN Hash slot not served", "cluster-down"),
    ("TRYAGAIN Multiple keys request during rehashing of slot", "cluster-down"),
    (
        "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
        "read-only",
    ),
    ("NOREPLICAS Not enough good replicas to write.", "persistence"),
    (
        "MISCONF Redis is configured to save RDB snapshots, but it is currently not able to save",
        "persistence",
    ),
    ("MISCONF Errors writing to the AOF file: No space left on device", "persistence"),
]
LASTING = [
    ("NOAUTH Authentication required.", StoreRefused, "login"),
    ("WRONGPASS invalid username-password pair or user is disabled.", StoreRefused, "login"),
    (
        "NOPERM this user has no permissions to run the 'hset' command",
        StoreRefused,
        "permission",
    ),
    (
        "WRONGTYPE Operation against a key holding the wrong kind of value",
        StoreCorrupt,
        "wrong-type",
    ),
    ("BUSYGROUP Consumer Group name already exists", StoreRefused, ""),
    ("ERR unknown command 'EVALSHA'", StoreRefused, ""),
]


@pytest.fixture
def store(redis_server: RedisServer) -> Iterator[RedisStore]:
    """Yield a store with the policy open and one text counted."""
    with RedisStore(redis_server.url, timeout_s=2) as opened:
        opened.open(META)
        opened.apply([part(0)])
        yield opened


def part(offset: int) -> PartitionDeltas:
    """Return a part of one text."""
    return PartitionDeltas("t1", 0, offset, offset + 1, {"hotels": ONE})


def command(server: RedisServer, *words: object) -> Any:
    """Return a server's answer to any command."""
    with redis.Redis.from_url(server.url, decode_responses=True) as raw:
        return raw.execute_command(*words)


def answered(store: RedisStore, text: str) -> StoreError:
    """Return what becomes of a server's error."""
    with pytest.raises(StoreError) as caught:
        store.server.command("EVAL", "return redis.error_reply(ARGV[1])", 0, text)
    return caught.value


@pytest.mark.parametrize("within", ["", IN_A_SCRIPT])
@pytest.mark.parametrize(("text", "cause"), PASSING)
def test_what_passes_is_told_apart(store: RedisStore, text: str, cause: str, within: str) -> None:
    """The server's own words, alone or out of a script, become an outage of that cause."""
    error = answered(store, within + text)
    assert isinstance(error, StoreUnavailable), repr(error)
    assert error.cause.startswith(cause)
    assert str(error).startswith("redis cannot serve now, it")


@pytest.mark.parametrize(("text", "kind", "cause"), LASTING)
def test_what_does_not_pass_is_refused(
    store: RedisStore, text: str, kind: type[StoreError], cause: str
) -> None:
    """Logins, rights, damage and what nobody knows are no outage: asking again helps nothing."""
    error = answered(store, text)
    assert type(error) is kind
    assert not cause or error.cause == cause


@contextmanager
def configured(server: RedisServer, **options: object) -> Iterator[None]:
    """Set options of a server, and set them back."""
    names = {name.replace("_", "-"): value for name, value in options.items()}
    before = {name: command(server, "CONFIG", "GET", name)[name] for name in names}
    try:
        for name, value in names.items():
            command(server, "CONFIG", "SET", name, value)
        yield
    finally:
        for name, value in before.items():
            command(server, "CONFIG", "SET", name, value)


@contextmanager
def too_few_replicas(server: RedisServer) -> Iterator[None]:
    """Ask a server for a replica before every write."""
    with configured(server, min_replicas_to_write=1):
        yield


@contextmanager
def primary_away(server: RedisServer) -> Iterator[None]:
    """Make a server the replica of nobody, one that does not answer meanwhile."""
    with configured(server, replica_serve_stale_data="no"):
        command(server, "REPLICAOF", "127.0.0.1", "1")
        try:
            yield
        finally:
            command(server, "REPLICAOF", "NO", "ONE")


@contextmanager
def busy(server: RedisServer) -> Iterator[None]:
    """Let a server run somebody's endless script."""
    with configured(server, lua_time_limit=1):

        def run() -> None:
            with pytest.raises(redis.RedisError):
                command(server, "EVAL", "while true do end", 0)

        thread = threading.Thread(target=run)
        thread.start()
        time.sleep(0.1)
        try:
            yield
        finally:
            command(server, "SCRIPT", "KILL")
            thread.join(5)


@pytest.mark.parametrize(
    ("trouble", "cause"),
    [(too_few_replicas, "persistence"), (primary_away, "read-only"), (busy, "busy")],
)
def test_a_server_in_trouble_is_an_outage_and_writes_nothing(
    store: RedisStore, redis_server: RedisServer, trouble: Any, cause: str
) -> None:
    """While it lasts each call is told why, and afterwards the same call counts its texts once."""
    with trouble(redis_server):
        for _ in range(2):
            with pytest.raises(StoreUnavailable) as caught:
                store.apply([part(1)])
            assert caught.value.cause == cause
    assert store.apply([part(1)]).outcomes[0].status is Status.APPLIED
    assert store.totals().stats == ONE + ONE


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_a_disk_that_takes_nothing_is_an_outage(flavour: Flavour) -> None:
    """A server that cannot save and accepts no writes is told, and waited for."""
    with (
        start_redis(flavour=flavour, args=("--dbfilename", "dump")) as server,
        RedisStore(server.url) as store,
    ):
        command(server, "CONFIG", "SET", "save", "3600 1000000")
        store.open(META)
        (server.home / "dump").mkdir()  # in the way of the file
        save_until(server, "err")
        with pytest.raises(StoreUnavailable, match="cannot save to disk") as caught:
            store.apply([part(0)])
        assert caught.value.cause == "persistence"
        (server.home / "dump").rmdir()
        save_until(server, "ok")
        assert store.apply([part(0)]).outcomes[0].status is Status.APPLIED


def save_until(server: RedisServer, status: str) -> None:
    """Have a server save, and return when it says that it ended so."""
    command(server, "BGSAVE")
    wait_until(
        lambda: command(server, "INFO", "persistence")["rdb_last_bgsave_status"] == status,
        timeout_s=10,
        what=f"saving to end with {status}",
    )


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_a_cluster_without_its_slots_is_an_outage(flavour: Flavour) -> None:
    """A node whose cluster is down is told so, by the plain client and by that for clusters."""
    options = ("--cluster-enabled", "yes")
    with start_redis(flavour=flavour, args=options) as server:
        with RedisStore(server.url) as store, pytest.raises(StoreUnavailable) as caught:
            store.open(META)
        assert caught.value.cause == "cluster-down"
        url = f"redis+cluster://{server.address}"
        with RedisStore(url) as store, pytest.raises(StoreUnavailable):
            store.open(META)


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_a_socket_is_an_address(flavour: Flavour, tmp_path_factory: Any) -> None:
    """`unix://` works as the rest does, with a login too; nobody behind it is an outage."""
    path = tmp_path_factory.mktemp("s") / "redis.sock"
    with start_redis(flavour=flavour, args=("--unixsocket", str(path))) as server:
        command(server, "ACL", "SETUSER", "anna", "on", ">p@ss", "~*", "+@all")
        for login in ("", "anna:p%40ss@"):
            with RedisStore(f"unix://{login}{path}") as store:
                assert store.open(META).meta == META
                store.apply([part(0)])
                assert store.totals().stats == ONE
        with RedisStore(f"unix://anna:wrong@{path}") as store, pytest.raises(StoreRefused):
            store.policies()
    with RedisStore(f"unix://{path}") as store, pytest.raises(StoreUnavailable) as caught:
        store.open(META)
    assert caught.value.cause == "connection"
