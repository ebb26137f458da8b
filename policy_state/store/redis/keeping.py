"""What people have set, as records to be kept elsewhere: what is new of it, and bringing it back.

Routes, settings, pins, freezes and both audits live in Redis. Whoever keeps a copy hands it in as
`Records`; here it is compared with the store. Knows no client library and not where the copy is.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from policy_state.domains import decode_domain
from policy_state.errors import StoreCorrupt
from policy_state.store.admin import AUDIT_ENTRIES
from policy_state.store.kept import alive, groups
from policy_state.store.redis import wire
from policy_state.store.redis.audit import Audit
from policy_state.store.redis.keys import POLICIES_KEY, PolicyKeys, route_keys

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from policy_state.store.kept import Key, Records
    from policy_state.store.redis.stats import RedisStats
    from policy_state.store.values import PolicyMeta

_ROUTES: Final = ("routes",)
_META: Final = (
    "fingerprint",
    "layers",
    "calibrated",
    "classes",
    "schema",
    "settings",
    "revision",
    *wire.LIMITS,
)
_SET: Final = ("pin", "pin_until", "pin_reason", "frozen", "freeze_reason", "labels")
_BY_HAND: Final = frozenset({"pin", "unpin", "freeze", "unfreeze", "label", "unlabel", "remove"})
_DOMAINS: Final = 200  # restored in one call


@dataclass(frozen=True, slots=True)
class Restored:
    """What was brought back."""

    routes: bool = False
    settings: bool = False
    domains: int = 0  # whose pin or freeze, or that they have none, was written
    changes: int = 0  # entries of the audits


class Keeping:
    """Compares the copy of what a group and its policy have set with what the store has of it."""

    def __init__(self, store: RedisStats, *, group: str, policy: str) -> None:
        """Ask nothing yet; the policy need not be open, nor exist."""
        self._server = store.server
        self._group = group
        self._policy = policy
        self._table, stream = route_keys(group)
        self._route_audit = Audit(store.server, stream, ("route-audit",))

    def lost(self, kept: Records) -> dict[str, int]:
        """Return what the store has lost of a copy, `routes` or `policy`, with how many changes.

        It has lost something where the latest change that the copy tells of is not in its audit:
        it was emptied, replaced, or restored from an older backup.
        """
        found = {}
        emptied = _ROUTES in kept and not self._server.command("HGET", self._table, "revision")
        if emptied or not self._route_audit.has_latest(kept):
            found["routes"] = len(self._route_audit.missing(kept))
        if self._is_of_another_model(kept):
            return found
        audit = self._audit(self._keys())
        if not audit.has_latest(kept):
            found["policy"] = len(audit.missing(kept))
        return found

    def news(
        self, kept: Records, *, lost: Collection[str] | None = None
    ) -> dict[Key, dict[str, str] | None]:
        """Return what a copy lacks, None for what is no more; changes come after what they made.

        Nothing is news of what the store has lost, which is asked for unless it is given. Of
        another model's policy nothing stays.
        """
        lost = self.lost(kept) if lost is None else lost
        found: dict[Key, dict[str, str] | None] = {}
        if self._is_of_another_model(kept):
            gone = {key for key in kept if key[1:2] == (self._policy,)}
            found |= dict.fromkeys(gone)
            rest = {key: value for key, value in kept.items() if key not in gone}
        else:
            rest = kept
        if "routes" not in lost:
            found |= self._route_news(kept)
        if "policy" not in lost:
            found |= self._policy_news(rest)
        changed = {key: value for key, value in found.items() if kept.get(key) != value}
        return dict(sorted(changed.items(), key=lambda item: item[0][0].endswith("audit")))

    def _is_of_another_model(self, kept: Records) -> bool:
        """Return whether a policy of the name was made for another model since."""
        old, keys = kept.get(("policy", self._policy)), self._keys()
        if old is None or keys is None:
            return False
        stored = self._server.command("HGET", keys.key("meta"), "fingerprint")
        return stored is not None and stored != old["fingerprint"]

    def meta(self, kept: Records) -> PolicyMeta | None:
        """Return the policy as the copy has it, None where it has none."""
        fields = kept.get(("policy", self._policy))
        if fields is None:
            return None
        return wire.meta_from_fields(fields, name=self._policy, key="the copy of the policy")

    def restore(
        self, kept: Records, *, by: str, reason: str, routes: bool = True, automatic: bool = False
    ) -> Restored:
        """Bring back what the store has lost; what was set since the loss stays. May be repeated.

        Args:
            kept: the copy.
            by: who brings it back, for the audits.
            reason: why.
            routes: whether routes are brought back, too.
            automatic: whether a worker does it by itself.
        """
        lost = self.lost(kept)
        entry = {"action": "restore", "by": by, "reason": reason, "detail": "{}"}
        if automatic:
            entry["automatic"] = "1"
        done = Restored()
        if "policy" in lost and (keys := self._keys()) is not None:
            done = self._restore_policy(kept, keys, entry)
        if "routes" in lost and routes:
            missing = self._route_audit.missing(kept)
            back = self._restore_routes(kept, automatic=automatic)
            changes = done.changes + self._route_audit.restore(missing, entry)
            done = Restored(back, done.settings, done.domains, changes)
        return done

    def _restore_policy(
        self, kept: Records, keys: PolicyKeys, entry: Mapping[str, str]
    ) -> Restored:
        audit, name = self._audit(keys), self._policy
        stored = self._server.command("HGETALL", keys.key("meta"))
        old = kept.get(("policy", name), {})
        if not stored or not old:  # nobody has made it anew yet
            return Restored()
        missing = audit.missing(kept)
        later = [fields for id_, fields in audit.entries() if ("audit", name, id_) not in kept]
        own = {fields["domain"] for fields in later if fields.get("action") in _BY_HAND}
        reset = {fields["domain"] for fields in later if fields.get("action") == "reset"}
        names = {key[2] for key in kept if key[:2] == ("domain", name)}
        names |= {fields["domain"] for fields in missing.values() if "domain" in fields}
        settings: dict[str, str] = {}
        if not any(fields.get("action") == "configure" for fields in later):
            settings = {
                field: old[field]
                for field in ("settings", *wire.LIMITS)
                if field in old and old[field] != stored.get(field)
            }
        if settings:  # a revision that no worker knows, so that all take them
            settings["revision"] = str(max(int(old["revision"]), int(stored["revision"])) + 1)
        now, written = _now_ms(), 0
        wanted = sorted(names - own)
        for first in range(0, max(1, len(wanted)), _DOMAINS):
            page = wanted[first : first + _DOMAINS]
            records = [alive(kept.get(("domain", name, domain), {}), now) for domain in page]
            for domain, record in zip(page, records, strict=True):
                if domain in reset:
                    record.pop("labels", None)
            reply = self._server.script(
                "restore.lua",
                [*keys.several("meta", "idx"), *map(keys.domain, page)],
                [
                    old["fingerprint"],
                    json.dumps([groups(record) for record in records]),
                    *(wire.flat(settings) if first == 0 else ()),
                ],
            )
            if reply[0] != "ok":
                raise StoreCorrupt(f"restore.lua answered {reply!r:.120}")
            written += int(reply[1])
        return Restored(
            settings=bool(settings),
            domains=written,
            changes=audit.restore(missing, entry),
        )

    def _restore_routes(self, kept: Records, *, automatic: bool) -> bool:
        """Bring the routes back, unless somebody has set others since.

        A worker leaves those of an older revision than the history tells of to one that knows more.
        """
        if _ROUTES not in kept:
            return False
        found = self._server.command("HGET", self._table, "revision") or "0"
        own = (id_ for id_, _ in self._route_audit.entries())
        if found != "0" and any(("route-audit", id_) not in kept for id_ in own):
            return False
        record = kept[_ROUTES]
        return bool(
            self._server.script(
                "restore_routes.lua",
                [self._table, self._route_audit.stream],
                [found, record["revision"], record["routes"], int(not automatic), AUDIT_ENTRIES],
            )
        )

    def _route_news(self, kept: Records) -> dict[Key, dict[str, str] | None]:
        entries = self._route_audit.news(kept)
        fields = self._server.command("HGETALL", self._table)  # behind them: never older
        if not fields:
            return {}
        return {_ROUTES: {"revision": fields["revision"], "routes": fields["routes"]}} | entries

    def _policy_news(self, kept: Records) -> dict[Key, dict[str, str] | None]:
        name, keys = self._policy, self._keys()
        if keys is None:
            return {}
        entries = self._audit(keys).news(kept)
        fields = self._server.command("HGETALL", keys.key("meta"))  # behind them: never older
        if not fields:
            return {}
        found: dict[Key, dict[str, str] | None] = {
            ("policy", name): {field: fields[field] for field in _META if field in fields}
        }
        now = _now_ms()
        # Those that are pinned or frozen stand above the others: see `index_score` in records.lua.
        fresh = [entry for entry in entries.values() if entry is not None]
        if ("policy", name) not in kept or any("domain" not in entry for entry in fresh):
            members = self._server.command("ZRANGEBYSCORE", keys.key("idx"), now, "+inf")
            domains = {*map(decode_domain, members)}
            domains |= {key[2] for key in kept if key[:2] == ("domain", name)}
        else:
            domains = {entry["domain"] for entry in fresh}
            domains |= {
                key[2]
                for key, record in kept.items()
                if key[:2] == ("domain", name) and alive(record, now) != record
            }
        for domain in domains:
            values = self._server.command("HMGET", keys.domain(domain), *_SET)
            record = {f: v for f, v in zip(_SET, values, strict=True) if v is not None}
            found["domain", name, domain] = alive(record, now) or None
        return found | entries

    def _audit(self, keys: PolicyKeys | None) -> Audit:
        stream = "" if keys is None else keys.key("audit")
        return Audit(self._server, stream, ("audit", self._policy))

    def _keys(self) -> PolicyKeys | None:
        pid = self._server.command("HGET", POLICIES_KEY, self._policy)
        return None if pid is None else PolicyKeys(pid)


def _now_ms() -> int:
    """Return the time by this machine's clock: a cluster has no single other one."""
    return time.time_ns() // 1_000_000
