"""Follows the routes of a group while a worker runs, in a separate thread."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

from consumer.errors import InvalidRoute
from consumer.process.rounds import Rounds
from policy_state.errors import PolicyStateError
from policy_state.store.groups import StoredRoutes

if TYPE_CHECKING:
    from consumer.routes.table import GroupRoutes, RouteTable
    from policy_state.store.groups import RouteStore

log = logging.getLogger("offramp.routes")

_EVERY_S: Final = 2.0
_GONE_S: Final = 30.0  # in which a worker of the fleet brings them back


class RouteWatch(Rounds):
    """The routes in force, and whether they have changed.

    A thread asks for them every other second, so that a store that does not answer keeps nobody
    waiting. Meanwhile, and while what is stored cannot be used, the last routes stay.
    """

    def __init__(
        self, group: GroupRoutes, store: RouteStore, *, instance: str, gone_s: float = _GONE_S
    ) -> None:
        """Read the routes once; `start` follows them from then on.

        Args:
            group: whose routes, unless they are given with it.
            store: where they are.
            instance: who follows them.
            gone_s: how long they may be gone from there.

        Raises:
            InvalidRoute, StoreError: see `GroupRoutes.in_force`.
        """
        super().__init__("offramp-routes", first_s=_EVERY_S)
        self._group = group
        self._store = store
        self._instance = instance
        self._latest = group.in_force(store)
        self._gone_s = gone_s
        self._gone_since: float | None = None

    @property
    def latest(self) -> RouteTable:
        """The routes in force; another object when they have changed."""
        return self._latest

    def start(self) -> None:
        """Follow changes, unless the settings give the routes."""
        if self._latest.source != "settings":
            super().start()

    def check(self) -> None:
        """Return unless the routes have been gone from Redis for too long.

        Those that are known are in force meanwhile. But changes reach nobody any more, and a
        worker that starts again would not know what to read.

        Raises:
            RoutesGone: they were not brought back in time.
        """
        since = self._gone_since
        if since is not None and time.monotonic() > since + self._gone_s:
            raise self._group.gone(f"they did not come back within {self._gone_s:g} s")

    def look(self) -> None:
        """Take the routes that are in force now, if they can be used."""
        try:
            stored = self._store.routes(self._group.group)
            if stored.revision == 0 and self._latest.revision:
                self._miss(stored)  # an emptied store says nothing about what to read
                return
            self._gone_since = None
            table = self._group.usable(stored)
        except (InvalidRoute, PolicyStateError) as error:
            if self._is_news(str(error)):
                log.warning("cannot read the routes, keeping the last ones error=%s", error)
            return
        self._is_news("")
        if table != self._latest:
            self._latest = table

    def _miss(self, stored: StoredRoutes) -> None:
        """Note that the routes are gone; write them to a store that lost them alone.

        Of several workers one does it. Their history is there still, so it is the store that they
        were read from. One without it was emptied, or is another: what that one has to say comes
        from the policy topic. So does what came after the routes that this worker knows, where it
        has not heard of that yet.
        """
        group, known = self._group.group, self._latest
        if self._gone_since is None:
            self._gone_since = time.monotonic()
            log.error("redis has lost the routes, keeping the last ones group=%s", group)
        routes = StoredRoutes(known.revision, tuple(known.documents()))
        reason = "redis had lost them"
        if stored.lost and self._store.put_routes_back(
            group, routes, by=self._instance, reason=reason
        ):
            log.warning("wrote the routes to redis again revision=%d", known.revision)
            self._gone_since = None

    def _round(self) -> float:
        self.look()
        return _EVERY_S
