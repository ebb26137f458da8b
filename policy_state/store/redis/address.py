"""Addresses of Redis: one server, a Sentinel group, a cluster. Reads them, connects to nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import SplitResult, unquote, urlsplit

from policy_state.errors import InvalidInput

Kind = Literal["server", "sentinel", "cluster"]
_KINDS: Final[dict[str, Kind]] = {"": "server", "sentinel": "sentinel", "cluster": "cluster"}
_PORTS: Final[dict[Kind, int]] = {"server": 6379, "sentinel": 26_379, "cluster": 6379}
_EXPECTED: Final = (
    "redis address: expected redis://, rediss:// (TLS) or unix://, redis+sentinel://HOST:PORT,"
    "HOST:PORT/MASTER or redis+cluster://HOST:PORT,HOST:PORT, each a host and a numeric port"
)


@dataclass(frozen=True, slots=True, repr=False)
class Address:
    """Where a Redis is. Not shown, for it may hold a password."""

    kind: Kind
    tls: bool
    hosts: tuple[tuple[str, int], ...]  # of the server, the sentinels, or some of the cluster
    path: str  # of a unix socket, with hosts empty
    master: str  # what the sentinels call the group
    database: int
    username: str | None
    password: str | None


def parse_address(url: str) -> Address:
    """Read `redis[s][+sentinel|+cluster]://[user:password@]host[:port],..[/master][/database]`.

    Raises:
        InvalidInput: Without address and cause: both may hold the password.
    """
    try:
        return _parsed(urlsplit(url))
    except ValueError:
        raise InvalidInput(_EXPECTED) from None


def _parsed(parts: SplitResult) -> Address:
    scheme, _, suffix = parts.scheme.partition("+")
    known = scheme in {"redis", "rediss", "unix"} and suffix in _KINDS
    if not known or parts.query or parts.fragment:
        raise ValueError
    kind = _KINDS[suffix]
    login, _, listed = parts.netloc.rpartition("@")
    username, _, password = login.partition(":")
    path = [unquote(piece) for piece in parts.path.split("/") if piece]
    master = path.pop(0) if kind == "sentinel" and path else ""
    if scheme == "unix":
        hosts: tuple[tuple[str, int], ...] = ()
        database = 0
        if suffix or listed or not path:
            raise ValueError
    else:
        hosts = tuple(_host(host, _PORTS[kind]) for host in listed.split(","))
        database = _database(path)
    if (kind == "sentinel") != bool(master) or (kind == "server" and len(hosts) > 1):
        raise ValueError
    if kind == "cluster" and database:
        raise ValueError
    return Address(
        kind=kind,
        tls=scheme == "rediss",
        hosts=hosts,
        path=unquote(parts.path) if scheme == "unix" else "",
        master=master,
        database=database,
        username=unquote(username) or None,
        password=unquote(password) or None,
    )


def _host(text: str, default_port: int) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    if not parts.hostname or parts.username is not None or parts.query or parts.path:
        raise ValueError
    return parts.hostname, parts.port or default_port


def _database(path: list[str]) -> int:
    if not path:
        return 0
    (text,) = path
    if not (text.isascii() and text.isdigit()):
        raise ValueError
    return int(text)
