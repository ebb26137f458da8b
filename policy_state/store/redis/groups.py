"""Routes and positions of consumer groups as calls of scripts; knows no client library."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from policy_state.domains import encode_domain
from policy_state.errors import StoreCorrupt
from policy_state.store.admin import AUDIT_ENTRIES, AuditEntry, check_signed
from policy_state.store.groups import StoredPositions, StoredRoutes, conflict
from policy_state.store.redis import wire
from policy_state.store.redis.keys import route_keys
from policy_state.store.redis.stats import RedisStats

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from policy_state.store.groups import ConsumerGroup

_BEGAN: Final = "began"


class RedisGroups(RedisStats):
    """Implements `RouteStore` and `PositionStore`; see `RedisStore`."""

    def routes(self, group: str) -> StoredRoutes:
        """Return the routes of a group."""
        key, _ = route_keys(group)
        fields = self.server.command("HGETALL", key)
        if not fields:
            return StoredRoutes(0, lost=bool(self.route_history(group, limit=1)))
        try:
            routes = json.loads(fields["routes"])
            if not isinstance(routes, list) or not all(isinstance(r, dict) for r in routes):
                raise StoreCorrupt(f"{key} field routes is no list of objects")
            return StoredRoutes(int(fields["revision"]), tuple(routes))
        except (KeyError, ValueError) as error:
            raise StoreCorrupt(f"{key}: {type(error).__name__} {error}") from error

    def write_routes(  # noqa: PLR0913 - see the port
        self,
        group: str,
        routes: Sequence[Mapping[str, Any]],
        *,
        revision: int,
        action: str,
        detail: Mapping[str, Any],
        by: str,
        reason: str,
    ) -> StoredRoutes:
        """Replace the routes of a group, if they are still at `revision`."""
        check_signed(by, reason)
        entry = {"action": action, "by": by, "reason": reason, "detail": json.dumps(detail)}
        reply = self.server.script(
            "routes.lua",
            route_keys(group),
            [
                wire.token(),
                AUDIT_ENTRIES,
                str(revision),
                json.dumps(list(map(dict, routes))),
                *wire.flat(entry),
            ],
        )
        match reply:
            case ["ok", now]:
                return StoredRoutes(int(now), tuple(map(dict, routes)))
            case ["conflict", now]:
                raise conflict(group, int(now))
        raise StoreCorrupt(f"routes.lua answered {reply!r:.80}")

    def put_routes_back(self, group: str, known: StoredRoutes, *, by: str, reason: str) -> bool:
        """Write routes that went missing, unless the history tells of a later change."""
        check_signed(by, reason)
        detail = {"routes": [route.get("name") for route in known.routes]}
        entry = {
            "action": "routes-put-back",
            "by": by,
            "reason": reason,
            "detail": json.dumps(detail),
            "automatic": "1",
        }
        done = self.server.script(
            "restore_routes.lua",
            route_keys(group),
            [
                *(0, known.revision, json.dumps(list(map(dict, known.routes)))),
                *(0, AUDIT_ENTRIES),
                *wire.flat(entry),
            ],
        )
        return bool(done)

    def route_history(self, group: str, *, limit: int = 100) -> tuple[AuditEntry, ...]:
        """Return the latest changes, the newest first."""
        _, audit = route_keys(group)
        found = self.server.command("XREVRANGE", audit, "+", "-", "COUNT", max(1, limit))
        return tuple(audit_entry(id_, fields) for id_, fields in found)

    def group_began(self, group: ConsumerGroup) -> bool:
        """Return whether `begin_group` was ever called for a group."""
        return bool(self.server.command("HEXISTS", _positions_key(group), _BEGAN))

    def begin_group(self, group: ConsumerGroup, offsets: Mapping[str, int]) -> bool:
        """Write where a group begins, all of it or nothing; say whether this call did."""
        return bool(
            self.server.script("positions.lua", [_positions_key(group)], wire.flat(offsets))
        )

    def position(self, group: ConsumerGroup, source: str) -> int | None:
        """Return the offset at which a group continues in a partition, if it is known."""
        key = _positions_key(group)
        text = self.server.command("HGET", key, source)
        return None if text is None else wire.number({source: text}, source, "", key=key)

    def positions(self, group: ConsumerGroup) -> StoredPositions:
        """Return all that is known of a group."""
        key = _positions_key(group)
        fields = self.server.command("HGETALL", key)
        sources = [name for name in fields if name != _BEGAN]
        offsets = {source: wire.number(fields, source, "", key=key) for source in sources}
        return StoredPositions(_BEGAN in fields, offsets)

    def keep_positions(self, group: ConsumerGroup, offsets: Mapping[str, int]) -> None:
        """Note where a group continues in some partitions."""
        if offsets:
            self.server.command("HSET", _positions_key(group), *wire.flat(offsets))


def audit_entry(entry_id: str, fields: Mapping[str, str]) -> AuditEntry:
    """Return an entry of the audit of a policy, or of the history of routes."""
    before = fields.get("before")
    return AuditEntry(
        time_ms=int(entry_id.partition("-")[0]),
        action=fields.get("action", ""),
        domain=fields.get("domain"),
        by=fields.get("by", ""),
        reason=fields.get("reason", ""),
        detail=json.loads(fields.get("detail", "{}")),
        before=None if before is None else wire.snapshot(before),
        automatic="automatic" in fields,
    )


def _positions_key(group: ConsumerGroup) -> str:
    tag = f"{{positions:{encode_domain(group.name)}}}"
    return f"offramp:{tag}:{encode_domain(group.cluster)}"
