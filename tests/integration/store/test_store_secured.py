"""Sentinel and Cluster where they are locked: TLS on every connection, users, passwords."""

import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
import trustme

from deploy.local.process import free_port, start_on_free_port, wait_until
from deploy.local.redis_server import find_redis
from deploy.local.services import Flavour, RedisServer, start_redis
from policy_state.errors import StoreRefused, StoreUnavailable
from policy_state.stats import ExitStats
from policy_state.store.redis.store import RedisStore
from policy_state.store.values import PartitionDeltas, PolicyMeta
from tests.support.servers.flavours import FLAVOURS
from tests.support.servers.proxies import Proxy, proxy

META = PolicyMeta("sentiment", "f1", (1, 3, 7, 12))
ONE = ExitStats.from_labels([0, 1, 1], exits=4)
PASSWORD = "s3cret"  # noqa: S105 - of servers that live for a test


class Sentinel(RedisServer):
    """A Sentinel that names one primary and looks for nothing else."""

    def __init__(self, executable: Path, *, port: int, primary_port: int, password: str) -> None:
        super().__init__(executable, port=port)
        self._primary_port = primary_port
        self._password = password

    def _prepare(self) -> None:
        lines = [
            f"port {self.port}",
            "bind 127.0.0.1",
            f"dir {self.home}",
            f"sentinel monitor fleet 127.0.0.1 {self._primary_port} 1",
            "sentinel down-after-milliseconds fleet 600000",
        ]
        (self.home / "sentinel.conf").write_text("\n".join(lines) + "\n")

    def _command(self) -> list[str]:
        return [str(self._executable), str(self.home / "sentinel.conf"), "--sentinel"]

    def lock(self) -> None:
        """Ask for the password from now on."""
        command(self, "ACL", "SETUSER", "default", "resetpass", f">{self._password}")


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, Path]:
    """Return what a server on loopback proves itself with, and the file of who signed it."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    file = tmp_path_factory.mktemp("tls") / "ca.pem"
    authority.cert_pem.write_to_path(file)
    return context, file


@pytest.fixture(params=FLAVOURS)
def flavour(request: pytest.FixtureRequest) -> Flavour:
    """Return whose server."""
    return request.param


def command(server: RedisServer, *words: object) -> Any:
    """Return a server's answer to any command."""
    with redis.Redis.from_url(server.url, decode_responses=True) as raw:
        return raw.execute_command(*words)


def add_user(server: RedisServer) -> None:
    """Let `anna` in."""
    command(server, "ACL", "SETUSER", "anna", "on", f">{PASSWORD}", "~offramp:*", "+@all")


def lock(server: RedisServer) -> None:
    """Let nobody else in."""
    command(server, "ACL", "SETUSER", "default", "off")


def check(store: RedisStore) -> None:
    """Count a text and read it back."""
    store.open(META)
    store.apply([PartitionDeltas("t1", 0, 0, 1, {"a": ONE})])
    assert store.totals().stats == ONE
    assert store.policies() == (META,)


@contextmanager
def sentinel_group(flavour: Flavour, tls: ssl.SSLContext) -> Iterator[tuple[Sentinel, Proxy]]:
    """Yield a Sentinel with a password, and the way to it; server and Sentinel speak TLS only."""
    executable = find_redis(flavour)
    assert executable is not None
    with ExitStack() as stack:
        server = stack.enter_context(start_redis(flavour=flavour))
        to_server = stack.enter_context(proxy(server.port, tls=tls))
        add_user(server)
        lock(server)

        def made() -> Sentinel:
            port = free_port()
            return Sentinel(executable, port=port, primary_port=to_server.port, password=PASSWORD)

        sentinel = stack.enter_context(start_on_free_port(made))
        yield sentinel, stack.enter_context(proxy(sentinel.port, tls=tls))


def test_a_locked_sentinel_group(
    flavour: Flavour, encrypted: tuple[ssl.SSLContext, Path], tmp_path: Path
) -> None:
    """TLS to Sentinel and primary, a user there; a Sentinel without a password, or with the same.

    One with another password is an outage that says so, and shows no password.
    """
    tls, ca_file = encrypted
    file = tmp_path / "password"
    file.write_text(f"{PASSWORD}\n")
    with sentinel_group(flavour, tls) as (sentinel, way):
        place = f"127.0.0.1:{way.port}/fleet"
        url = f"rediss+sentinel://anna:{PASSWORD}@{place}"
        with RedisStore(url, ca_file=ca_file) as store:
            check(store)
        with RedisStore(url) as store, pytest.raises(StoreUnavailable):
            store.policies()
        sentinel.lock()
        for address, password_file in ((url, None), (f"rediss+sentinel://anna@{place}", file)):
            with RedisStore(address, ca_file=ca_file, password_file=password_file) as store:
                check(store)
        file.write_text("other")
        with (
            RedisStore(url, ca_file=ca_file, password_file=file) as store,
            pytest.raises(StoreUnavailable) as caught,
        ):
            store.policies()
        assert str(caught.value) == (
            "redis did not answer: No master found for 'fleet' : "
            "a sentinel - auth:AuthenticationError (its address is redis.url, OFFRAMP_REDIS__URL)"
        )


def test_a_locked_cluster(encrypted: tuple[ssl.SSLContext, Path]) -> None:
    """TLS to every node and a user; a wrong password is refused, plain text is an outage."""
    tls, ca_file = encrypted
    with (
        proxy(0, tls=tls) as way,
        start_redis(
            args=("--cluster-enabled", "yes", "--cluster-announce-port", str(way.port))
        ) as server,
    ):
        way.target = server.port
        command(server, "CLUSTER", "ADDSLOTS", *range(16_384))
        wait_until(
            lambda: "cluster_state:ok" in str(command(server, "CLUSTER", "INFO")),
            timeout_s=20,
            what="the cluster",
        )
        add_user(server)
        lock(server)
        url = f"rediss+cluster://anna:{PASSWORD}@127.0.0.1:{way.port}"
        with RedisStore(url, ca_file=ca_file) as store:
            check(store)
        wrong = url.replace(PASSWORD, "wrong")
        with RedisStore(wrong, ca_file=ca_file) as store, pytest.raises(StoreRefused) as caught:
            store.policies()
        assert caught.value.cause == "login"
        with RedisStore(url.replace("rediss", "redis")) as store, pytest.raises(StoreUnavailable):
            store.policies()
