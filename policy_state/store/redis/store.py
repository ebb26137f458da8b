"""The statistics store in Redis or Valkey; the only file that knows the client library."""

from __future__ import annotations

import hashlib
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import redis
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.credentials import CredentialProvider
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError, Sentinel

from policy_state.errors import InvalidInput, StoreCorrupt, StoreRefused, StoreUnavailable
from policy_state.store.redis.address import Address, parse_address
from policy_state.store.redis.admin import RedisAdmin

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# What the server says when it cannot serve for now: code, cause for metrics, words for people.
# The client turns some codes into classes and takes them off the message; inside a script others
# stay in the text. Its class of MASTERDOWN is one of CLUSTERDOWN too, so that comes later.
_SETTING = " (its address is redis.url, OFFRAMP_REDIS__URL)"
_PASSING: Final = (
    ("READONLY", redis.ReadOnlyError, "read-only", "it is a read-only replica"),
    ("OOM", redis.OutOfMemoryError, "out-of-memory", "its maxmemory is reached"),
    ("LOADING", redis.BusyLoadingError, "loading", "it is loading its data"),
    ("BUSY", None, "busy", "it is busy with somebody's script"),
    ("MASTERDOWN", redis.exceptions.MasterDownError, "read-only", "its primary is away"),
    ("CLUSTERDOWN", redis.exceptions.ClusterDownError, "cluster-down", "its cluster is down"),
    ("TRYAGAIN", redis.exceptions.TryAgainError, "cluster-down", "its cluster moves the keys"),
    ("NOREPLICAS", None, "persistence", "it has too few replicas to accept writes"),
    ("MISCONF", None, "persistence", "it cannot save to disk and accepts no writes"),
)

# That of a cluster whose nodes or slots are not found is no `RedisError`.
_ERRORS: Final = (redis.RedisError, redis.exceptions.RedisClusterException)

# Redis says NOPERM of a command, and in these words of one inside a script.
_NO_PERMISSION: Final = re.compile(r"(?i)no permission|user executing the script can't|ACL failure")

# What a client for Sentinels shows of itself, for each that did not help.
_CLIENT: Final = re.compile(r"<redis\.client\.Redis\(.*?\)>\)>\)>")


class RedisStore(RedisAdmin):
    """Implements `PolicyAdmin`, `RouteStore` and `PositionStore` on a Redis 6.2 or a Valkey 8.

    It is one class in four files, each of which adds what one port asks for: `stats.py` the
    counters and the open policy, `groups.py` routes and positions, `admin.py` what operators
    change, and this one the connection. They all send the scripts in `lua`.

    The client's own retries are off. Instead a call whose connection broke is sent once more, which
    is safe because every call may be repeated: `apply` by its watermarks, changes by their tokens,
    the others because they set what is already set.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float = 2.0,
        resends: int = 1,
        password_file: Path | None = None,
        ca_file: Path | None = None,
    ) -> None:
        """Prepare a client; nothing is sent to a server or a Sentinel before the first call.

        Args:
            url: `redis://`, `rediss://`, `unix://`, `redis+sentinel://`, `redis+cluster://`: see
                `address.parse_address`.
            timeout_s: Longest wait for a connection, and for each answer.
            resends: How often a call whose connection broke is sent again before
                `StoreUnavailable`; one that got no answer in time is not.
            password_file: Read at every new connection, so the password may change; wins over the
                one in the address.
            ca_file: Certificates to trust with `rediss://`; default: those of the system.
        """
        address = parse_address(url)
        options: dict[str, Any] = {
            "decode_responses": True,
            "encoding_errors": "backslashreplace",  # a stray byte is shown, not a crash
            "socket_timeout": timeout_s,
            "socket_connect_timeout": timeout_s,
            "retry": Retry(NoBackoff(), 0),
            "credential_provider": _Login(address.username, address.password, password_file),
        }
        if address.tls:
            options |= {"ssl": True, "ssl_cert_reqs": "required"}
            if ca_file is not None:
                options["ssl_ca_certs"] = str(ca_file)
        super().__init__(_Connection(lambda: _client(address, options), resends))


class _Connection:
    """Implements `Server`: sends, sends again, maps errors."""

    def __init__(self, connect: Callable[[], Any], resends: int) -> None:
        self._connect = connect
        self._resends = resends
        self._client: Any = None

    def script(self, name: str, keys: Sequence[str], args: Sequence[str | int]) -> Any:  # noqa: ANN401
        digest, text = _script(name)
        return self._call(lambda client: _run_script(client, digest, text, keys, args))

    def command(self, *words: str | int) -> Any:  # noqa: ANN401
        return self._call(lambda client: client.execute_command(*words))

    def evictions(self) -> frozenset[str]:
        return frozenset(
            str(info.get("maxmemory_policy", "unknown")) for info in self._call(_memory_infos)
        )

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def _call(self, send: Callable[[Any], Any]) -> Any:  # noqa: ANN401
        """Return what `send` returns; sent again where the connection broke, errors mapped."""
        left = self._resends
        while True:
            try:
                if self._client is None:
                    self._client = self._connect()
                return send(self._client)
            except _ERRORS as error:
                problem = _mapped(error)
                slow = problem.cause == "timeout"  # sent again it would be as slow
                if left == 0 or slow or isinstance(problem, StoreRefused):
                    raise problem from error
                left -= 1


class _Login(CredentialProvider):
    """Gives user and password to each new connection."""

    def __init__(self, username: str | None, password: str | None, file: Path | None) -> None:
        self._username = username
        self._password = password
        self._file = file

    def __bool__(self) -> bool:
        """Say whether there is one."""
        return (self._username or self._password or self._file) is not None

    def without_user(self) -> _Login:
        """Return the password alone."""
        return _Login(None, self._password, self._file)

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        password = self._password
        if self._file is not None:
            try:
                password = self._file.read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                raise InvalidInput(f"password file {self._file}: {error}") from error
        if self._username is not None:
            return self._username, password or ""
        return (password or "",)


def _client(address: Address, options: dict[str, Any]) -> Any:  # noqa: ANN401
    login: _Login = options["credential_provider"]
    if not login:
        options = {name: value for name, value in options.items() if name != "credential_provider"}
    if address.kind == "sentinel":
        plain = {"socket_timeout": options["socket_timeout"], "retry": options["retry"]}
        if alone := login.without_user():  # users are the servers' own; no password takes any
            plain["credential_provider"] = alone
        sentinel = Sentinel(  # type: ignore[no-untyped-call]
            address.hosts,
            sentinel_kwargs={n: options[n] for n in options if n.startswith("ssl")} | plain,
            **options,
        )
        return sentinel.master_for(  # type: ignore[no-untyped-call]
            address.master, db=address.database
        )
    if address.kind == "cluster":
        nodes = [
            ClusterNode(host, port)  # type: ignore[no-untyped-call]
            for host, port in address.hosts
        ]
        return RedisCluster(startup_nodes=nodes, **options)
    if address.path:
        return redis.Redis(unix_socket_path=address.path, **options)
    ((host, port),) = address.hosts
    return redis.Redis(host=host, port=port, db=address.database, **options)


def _memory_infos(client: Any) -> list[dict[str, Any]]:  # noqa: ANN401
    """Return what each server that is written to says of its memory; `CONFIG GET` needs more."""
    if isinstance(client, RedisCluster):
        every = client.execute_command(  # type: ignore[no-untyped-call]
            "INFO", "memory", target_nodes=RedisCluster.PRIMARIES
        )
        return list(every.values())
    return [client.execute_command("INFO", "memory")]


def _run_script(
    client: Any,  # noqa: ANN401
    digest: str,
    text: str,
    keys: Sequence[str],
    args: Sequence[str | int],
) -> Any:  # noqa: ANN401
    try:
        return client.execute_command("EVALSHA", digest, len(keys), *keys, *args)
    except redis.exceptions.NoScriptError:  # a restart or a failover forgot it
        return client.execute_command("EVAL", text, len(keys), *keys, *args)


@cache
def _script(name: str) -> tuple[str, str]:
    """Return the digest and the text of a script."""
    folder = Path(__file__).parent / "lua"
    parts = ("common.lua", "records.lua", "offsets.lua", name)
    text = "".join((folder / part).read_text(encoding="utf-8") for part in parts)
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest(), text


def _mapped(error: BaseException) -> StoreUnavailable | StoreRefused:  # noqa: PLR0911 - a table
    if isinstance(error, redis.exceptions.RedisClusterException) and error.__cause__:
        error = error.__cause__  # of no node: why the last one asked was of no help
    codes = set(re.findall(r"\b[A-Z]+\b", str(error)))
    for code, kind, cause, words in _PASSING:
        if code in codes or (kind is not None and isinstance(error, kind)):
            return StoreUnavailable(f"redis cannot serve now, {words}: {error}", cause=cause)
    if isinstance(error, redis.AuthenticationError) or codes & {"WRONGPASS", "NOAUTH"}:
        return StoreRefused(f"redis refused the login: {error}", cause="login")
    if "NOPERM" in codes or _NO_PERMISSION.search(str(error)):
        return StoreRefused(
            f"redis lets this user not do that, nothing was written: {error}", cause="permission"
        )
    if isinstance(error, redis.TimeoutError):
        return StoreUnavailable(f"redis did not answer in time: {error}{_SETTING}", cause="timeout")
    if isinstance(error, MasterNotFoundError):
        reasons = _CLIENT.sub("a sentinel", str(error))
        return StoreUnavailable(f"redis did not answer: {reasons}{_SETTING}", cause="connection")
    if isinstance(error, (redis.ConnectionError, redis.exceptions.RedisClusterException)):
        return StoreUnavailable(f"redis did not answer: {error}{_SETTING}", cause="connection")
    if "WRONGTYPE" in codes:
        return StoreCorrupt(
            f"a key is of another type, nothing was written: {error}", cause="wrong-type"
        )
    return StoreRefused(f"redis refused: {error}")
