"""Shared routes in this process's memory."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from policy_state.store.admin import AUDIT_ENTRIES, AuditEntry, check_signed
from policy_state.store.groups import StoredRoutes, conflict
from tests.support.memory.positions import MemoryPositions
from tests.support.memory.stats import wall_clock_ms

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


class MemoryRoutes(MemoryPositions):
    """Implements `RouteStore`."""

    def __init__(self, *, clock_ms: Callable[[], int] = wall_clock_ms) -> None:
        """Start without routes."""
        super().__init__(clock_ms=clock_ms)
        self._routes: dict[str, StoredRoutes] = {}
        self._route_history: dict[str, deque[AuditEntry]] = {}

    def routes(self, group: str) -> StoredRoutes:
        """Return the routes of a group."""
        with self.lock:
            lost = StoredRoutes(0, lost=bool(self._route_history.get(group)))
            return self._routes.get(group, lost)

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
        with self.lock:
            check_signed(by, reason)
            stored = self.routes(group)
            if stored.revision != revision:
                raise conflict(group, stored.revision)
            self._routes[group] = StoredRoutes(revision + 1, tuple(map(dict, routes)))
            entry = AuditEntry(self.clock_ms(), action, None, by, reason, dict(detail))
            self._route_history.setdefault(group, deque(maxlen=AUDIT_ENTRIES)).append(entry)
            return self._routes[group]

    def put_routes_back(self, group: str, known: StoredRoutes, *, by: str, reason: str) -> bool:
        """Write routes that went missing, which here only a test brings about."""
        with self.lock:
            check_signed(by, reason)
            if not self.routes(group).lost:
                return False
            self._routes[group] = known
            detail = {"routes": [route.get("name") for route in known.routes]}
            entry = AuditEntry(
                self.clock_ms(), "routes-put-back", None, by, reason, detail, automatic=True
            )
            self._route_history[group].append(entry)
            return True

    def route_history(self, group: str, *, limit: int = 100) -> tuple[AuditEntry, ...]:
        """Return the latest changes, the newest first."""
        with self.lock:
            return tuple(reversed(self._route_history.get(group, ())))[:limit]
