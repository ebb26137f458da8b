"""The statistics store in Redis or Valkey; the only file that knows the client library."""

from __future__ import annotations

import re
import secrets
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from policy_state.backends import wire
from policy_state.domains import decode_domain
from policy_state.errors import (
    InvalidSettings,
    PolicyNotOpen,
    StoreCorrupt,
    StoreRefused,
    StoreUnavailable,
)
from policy_state.store import (
    Applied,
    DomainSnapshot,
    OpenedPolicy,
    PartitionDeltas,
    PolicyMeta,
    Totals,
    check_heartbeat,
    check_same_model,
    checked_domains,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from types import TracebackType

# Refusals that pass by themselves: failing over, full, busy. The client turns some of the server's
# codes into classes and takes them off the message; inside a script others stay in the text.
_PASSING_ERRORS = (
    redis.OutOfMemoryError,
    redis.ReadOnlyError,
    redis.exceptions.ClusterDownError,
    redis.exceptions.TryAgainError,
)
_PASSING_CODES = frozenset({"OOM", "READONLY", "MISCONF", "NOREPLICAS", "BUSY"})


class RedisStore:
    """Implements `StatsStore` on a Redis 6.2 or newer, or a Valkey.

    The client's own retries are off. Instead a call that gets no answer is sent once more by
    `_call`, which is safe because every call may be repeated: `apply` by its watermarks, the
    others because they set what is already set.
    """

    def __init__(self, url: str, *, timeout_s: float = 2.0, resends: int = 1) -> None:
        """Prepare a client; nothing is sent before the first call.

        Args:
            url: `redis://`, `rediss://` or `unix://` address.
            timeout_s: Longest wait for a connection, and for each answer.
            resends: How often a call that got no answer is sent again before `StoreUnavailable`.
        """
        try:
            self._client = redis.Redis.from_url(
                url,
                decode_responses=True,
                encoding_errors="backslashreplace",  # a stray byte is shown, not a crash
                socket_timeout=timeout_s,
                socket_connect_timeout=timeout_s,
                retry=Retry(NoBackoff(), 0),
            )
        except ValueError:
            # Neither the address nor the cause is shown: both may hold the password.
            raise InvalidSettings(
                "redis address: expected redis://, rediss:// or unix://, a host, a numeric port"
            ) from None
        self._resends = resends
        self._apply = self._client.register_script(_script("apply.lua"))
        self._open = self._client.register_script(_script("open.lua"))
        self._opened: tuple[wire.PolicyKeys, PolicyMeta] | None = None

    def __enter__(self) -> Self:
        """Return the store itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connections."""
        self.close()

    def close(self) -> None:
        """Close the connections; the store can be used again and then reconnects."""
        self._client.close()

    def open(self, policy: PolicyMeta) -> OpenedPolicy:
        """Bind this store to a policy, creating it on first use."""
        offered = secrets.token_hex(8)
        self._call(lambda: self._client.hsetnx(wire.POLICIES_KEY, policy.name, offered))
        pid = str(self._call(lambda: self._client.hget(wire.POLICIES_KEY, policy.name)))
        keys = wire.PolicyKeys(pid)
        new_fields = [text for pair in wire.meta_fields(policy).items() for text in pair]
        created, flat = self._call(lambda: self._open(keys=[keys.meta], args=new_fields))
        stored = dict(zip(flat[::2], flat[1::2], strict=True))
        meta = wire.meta_from_fields(stored, key=keys.meta)
        check_same_model(policy, meta)
        self._opened = (keys, meta)
        return OpenedPolicy(id=pid, meta=meta, created=bool(created))

    def apply(self, parts: Sequence[PartitionDeltas], *, watch: Collection[str] = ()) -> Applied:
        """Add the parts that were not counted before, in one atomic step and one round trip."""
        keys, meta = self._bound()
        domains = checked_domains(parts, watch, exits=meta.exits)
        names = [keys.domain(domain) for domain in domains]
        prefix = len(keys.domain(""))
        reply = self._call(
            lambda: self._apply(
                keys=[keys.meta, keys.watermarks, keys.index, keys.totals, *names],
                args=[
                    meta.fingerprint,
                    wire.apply_request(parts, domains),
                    *(name[prefix:] for name in names),
                ],
            )
        )
        return wire.apply_answer(reply, domains, meta)

    def read(self, domains: Collection[str]) -> Mapping[str, DomainSnapshot]:
        """Return the snapshot of each of the domains."""
        return self.apply((), watch=domains).snapshots

    def domains(self, *, offset: int = 0, limit: int = 100) -> tuple[str, ...]:
        """Return a page of the domains seen so far, the most recently active first."""
        keys, _ = self._bound()
        if limit < 1:
            return ()
        last = offset + limit - 1
        members = self._call(lambda: self._client.zrevrange(keys.index, offset, last))
        return tuple(decode_domain(member) for member in members)

    def totals(self) -> Totals:
        """Return the sum over all domains."""
        keys, meta = self._bound()
        stats = wire.counters(self._hash(keys.totals), key=keys.totals, exits=meta.exits)
        return Totals(stats=stats, domains=self._call(lambda: self._client.zcard(keys.index)))

    def policies(self) -> tuple[PolicyMeta, ...]:
        """Return all policies of the store, by name."""
        found = []
        for _, pid in sorted(self._hash(wire.POLICIES_KEY).items()):
            key = wire.PolicyKeys(pid).meta
            fields = self._hash(key)
            if fields:  # none where a worker died between taking the name and creating the policy
                found.append(wire.meta_from_fields(fields, key=key))
        return tuple(found)

    def heartbeat(self, instance: str, fields: Mapping[str, str | int], *, ttl_s: float) -> None:
        """Show a worker as alive for `ttl_s` seconds."""
        check_heartbeat(instance, fields, ttl_s)
        key = wire.worker_key(instance)

        def send() -> None:
            with self._client.pipeline(transaction=True) as pipeline:
                pipeline.delete(key)
                pipeline.hset(key, items=[text for pair in fields.items() for text in pair])
                pipeline.pexpire(key, max(1, int(ttl_s * 1000)))
                pipeline.execute()

        self._call(send)

    def workers(self) -> Mapping[str, Mapping[str, str]]:
        """Return the workers alive, by instance."""
        pattern = f"{wire.WORKER_PREFIX}*"
        keys = self._call(lambda: sorted(set(self._client.scan_iter(pattern, count=1000))))
        alive = {}
        for key in keys:
            fields = self._hash(key)
            if fields:  # none where it expired meanwhile
                alive[decode_domain(key.removeprefix(wire.WORKER_PREFIX))] = fields
        return alive

    def _bound(self) -> tuple[wire.PolicyKeys, PolicyMeta]:
        if self._opened is None:
            raise PolicyNotOpen("no policy is open on this store: call open first")
        return self._opened

    def _hash(self, key: str) -> dict[str, str]:
        fields: dict[str, str] = self._call(lambda: self._client.hgetall(key))
        return fields

    def _call(self, send: Callable[[], Any]) -> Any:  # noqa: ANN401 - as the client declares it
        """Return what `send` returns; sent again where no answer came, errors mapped."""
        for _ in range(self._resends):
            try:
                with _mapped_errors():
                    return send()
            except StoreUnavailable:
                continue
        with _mapped_errors():
            return send()


def _script(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


@contextmanager
def _mapped_errors() -> Iterator[None]:
    try:
        yield
    except (redis.AuthenticationError, redis.exceptions.AuthorizationError) as error:
        raise StoreRefused(f"redis refused the login: {error}") from error
    except (redis.ConnectionError, redis.TimeoutError) as error:
        raise StoreUnavailable(f"redis did not answer: {error}") from error
    except redis.RedisError as error:
        codes = set(re.findall(r"\b[A-Z]+\b", str(error)))
        if isinstance(error, _PASSING_ERRORS) or codes & _PASSING_CODES:
            raise StoreUnavailable(f"redis cannot serve now: {error}") from error
        if "WRONGTYPE" in codes:
            raise StoreCorrupt(f"a key is of another type, nothing was written: {error}") from error
        raise StoreRefused(f"redis refused: {error}") from error
