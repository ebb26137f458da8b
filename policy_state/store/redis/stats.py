"""The worker's side of the store as calls of scripts; knows no client library."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

from policy_state.domains import OVERFLOW_DOMAIN, decode_domain, encode_domain
from policy_state.errors import FingerprintMismatch, PolicyNotOpen, StoreCorrupt
from policy_state.store.admin import AUDIT_ENTRIES, SAMPLES
from policy_state.store.redis import wire
from policy_state.store.redis.keys import (
    POLICIES_KEY,
    WORKERS_KEY,
    PolicyKeys,
    policy_id,
    worker_key,
)
from policy_state.store.values import (
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
    from collections.abc import Collection, Mapping, Sequence
    from types import TracebackType


_LEDGER: Final = ("brought", "gone", "skipped", "lost", "marks", "gapped")


class Server(Protocol):
    """A Redis, or what speaks like one. Calls are sent again as needed; all may be repeated."""

    def script(self, name: str, keys: Sequence[str], args: Sequence[str | int]) -> Any:  # noqa: ANN401
        """Run one of the scripts beside this file."""
        ...

    def command(self, *words: str | int) -> Any:  # noqa: ANN401
        """Run one command."""
        ...

    def evictions(self) -> frozenset[str]:
        """Return what the servers do when they are full, by their `maxmemory-policy`."""
        ...

    def close(self) -> None:
        """Close the connections."""
        ...


class RedisStats:
    """Implements `StatsStore`; see `RedisStore`."""

    def __init__(self, server: Server) -> None:
        """Keep the server; nothing is sent before the first call."""
        self.server = server
        self._opened: tuple[PolicyKeys, OpenedPolicy] | None = None  # as last seen

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
        self.server.close()

    def open(self, policy: PolicyMeta) -> OpenedPolicy:
        """Bind this store to a policy, creating it on first use."""
        pid = self.server.command("HGET", POLICIES_KEY, policy.name)
        if pid is None:
            self.server.command("HSETNX", POLICIES_KEY, policy.name, policy_id(policy.name))
            pid = self.server.command("HGET", POLICIES_KEY, policy.name)
        keys = PolicyKeys(pid)
        opened = self.look(keys, policy.name, wire.flat(wire.meta_fields(policy)))
        check_same_model(policy, opened.meta)
        self._opened = (keys, opened)
        return opened

    def apply(
        self,
        parts: Sequence[PartitionDeltas],
        *,
        also_read: Collection[str] = (),
        rebuild: bool = False,
    ) -> Applied:
        """Add the parts that were not counted before, in one atomic step and one round trip."""
        seen = self._seen()
        keys, known = seen
        meta = known.meta
        domains = checked_domains(parts, also_read, exits=meta.exits)
        reply = self.server.script(
            "apply.lua",
            [
                *keys.several("meta", "wm", "gaps", "idx", "agg"),
                keys.domain(OVERFLOW_DOMAIN),
                keys.key("samples"),
                *map(keys.domain, domains),
            ],
            [
                meta.fingerprint,
                known.revision,
                int(rebuild),
                wire.apply_request(parts, domains),
                meta.exits,
                wire.SIZE,
                SAMPLES,
            ],
        )
        applied = wire.apply_answer(reply, domains, known)
        if applied.revision != known.revision and self._opened is seen:  # no other policy since
            meta = replace(meta, settings=applied.settings, limits=applied.limits)
            self._opened = (keys, replace(known, meta=meta, revision=applied.revision))
        return applied

    def read(self, domains: Collection[str]) -> Mapping[str, DomainSnapshot]:
        """Return the snapshot of each of the domains."""
        return self.apply((), also_read=domains).snapshots

    def domains(self, *, limit: int = 100) -> tuple[str, ...]:
        """Return the first domains."""
        keys, _ = self.bound()
        if limit < 1:
            return ()
        members = self.server.command("ZREVRANGE", keys.key("idx"), 0, limit - 1)
        try:
            return tuple(decode_domain(member) for member in members)
        except UnicodeDecodeError as error:
            raise StoreCorrupt(f"{keys.key('idx')}: a member that is no domain: {error}") from error

    def activity(self) -> dict[str, float]:
        """Return every domain in the order of `domains`, each with a number that texts change."""
        key = self.bound()[0].key("idx")
        flat = self.server.command("ZREVRANGE", key, 0, -1, "WITHSCORES")
        pairs = (
            flat
            if flat and not isinstance(flat[0], str)
            else zip(flat[::2], flat[1::2], strict=True)
        )
        return {decode_domain(member): float(score) for member, score in pairs}

    def totals(self) -> Totals:
        """Return the sums over all domains."""
        keys, meta = self.bound()
        agg = keys.key("agg")
        fields = self.server.command("HGETALL", agg)
        return Totals(
            stats=wire.counters(fields, key=agg, exits=meta.exits),
            domains=self.server.command("ZCARD", keys.key("idx")),
            **{name: wire.number(fields, name, "0", key=agg) for name in _LEDGER},
        )

    def policies(self) -> tuple[PolicyMeta, ...]:
        """Return the policies of the store that can be read, by name."""
        return tuple(self._policies()[0])

    def unreadable_policies(self) -> Mapping[str, str]:
        """Return the names of those that cannot be read, and why."""
        return self._policies()[1]

    def _policies(self) -> tuple[list[PolicyMeta], dict[str, str]]:
        found, unreadable = [], {}
        for name, pid in sorted(self.server.command("HGETALL", POLICIES_KEY).items()):
            try:
                meta = self._meta(name, pid)
            except (StoreCorrupt, FingerprintMismatch) as error:
                unreadable[name] = str(error)
            else:
                found += [meta] if meta else []
                if meta is None and self._holds_anything(PolicyKeys(pid)):
                    unreadable[name] = (
                        f"policy {name}: its meta is missing, though other keys are there: the "
                        "next worker that starts creates it anew, then `offramp policy rebuild` "
                        "counts what it had learnt"
                    )
        return found, unreadable

    def _holds_anything(self, keys: PolicyKeys) -> bool:
        """Return whether there are counters or an audit."""
        return bool(
            self.server.command("ZCARD", keys.key("idx"))
            or self.server.command("HGETALL", keys.key("agg"))
            or self.server.command("XREVRANGE", keys.key("audit"), "+", "-", "COUNT", 1)
        )

    def evictions(self) -> frozenset[str]:
        """Return what the servers do when they are full, by their `maxmemory-policy`."""
        return self.server.evictions()

    def find(self, name: str) -> PolicyMeta | None:
        """Return a policy, None where there is none of that name."""
        pid = self.server.command("HGET", POLICIES_KEY, name)
        return self._meta(name, pid or policy_id(name))

    def _meta(self, name: str, pid: str) -> PolicyMeta | None:
        key = PolicyKeys(pid).key("meta")
        fields = self.server.command("HGETALL", key)
        if not fields:  # a worker died between taking the name and creating the policy
            return None
        return wire.meta_from_fields(fields, name=name, key=key)

    def heartbeat(self, instance: str, fields: Mapping[str, str | int], *, ttl_s: float) -> None:
        """Show a worker as alive for `ttl_s` seconds."""
        check_heartbeat(instance, fields, ttl_s)
        ttl_ms = max(1, int(ttl_s * 1000))
        given = [ttl_ms, *wire.flat(fields)]
        expires_ms = int(self.server.script("heartbeat.lua", [worker_key(instance)], given))
        self.server.command("ZADD", WORKERS_KEY, expires_ms, encode_domain(instance))
        self.server.command("ZREMRANGEBYSCORE", WORKERS_KEY, "-inf", expires_ms - ttl_ms)

    def workers(self) -> Mapping[str, Mapping[str, str]]:
        """Return the workers alive, by instance."""
        alive = {}
        for member in sorted(self.server.command("ZRANGE", WORKERS_KEY, 0, -1)):
            instance = decode_domain(member)
            fields = self.server.command("HGETALL", worker_key(instance))
            if fields:  # none where it expired
                alive[instance] = fields
        return alive

    def look(self, keys: PolicyKeys, name: str, new: Sequence[str | int] = ()) -> OpenedPolicy:
        """Return a policy as it is stored; created from the fields of `new` where there is none."""
        created, flat = self.server.script(
            "open.lua",
            keys.several("meta", "wm", "gaps", "idx", "agg", "audit"),
            [AUDIT_ENTRIES, *new],
        )
        stored = dict(zip(flat[::2], flat[1::2], strict=True))
        if not stored:
            wire.raise_problem(["no-policy"], self.bound()[1])
        meta = wire.meta_from_fields(stored, name=name, key=keys.key("meta"))
        return OpenedPolicy(
            id=keys.pid,
            meta=meta,
            created=bool(created),
            revision=wire.number(stored, "revision", "1", key=keys.key("meta")),
            created_ms=wire.number(stored, "created", "0", key=keys.key("meta")),
            changes=wire.number(stored, "changes", "0", key=keys.key("meta")),
        )

    def bound(self) -> tuple[PolicyKeys, PolicyMeta]:
        """Return the keys and the meta of the open policy."""
        keys, opened = self._seen()
        return keys, opened.meta

    def _seen(self) -> tuple[PolicyKeys, OpenedPolicy]:
        if self._opened is None:
            raise PolicyNotOpen("no policy is open on this store: call open first")
        return self._opened
