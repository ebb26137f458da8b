"""Follows the routes of a group while a worker runs, in a thread of its own."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Final

from consumer.errors import InvalidRoute, RoutesGone
from consumer.routes.table import RouteTable, check_routes, settings_table, stored_table
from policy_state.errors import PolicyStateError
from policy_state.store.routes import StoredRoutes

if TYPE_CHECKING:
    from consumer.settings.load import Settings
    from policy_state.store.routes import RouteStore

log = logging.getLogger("offramp.routes")

_EVERY_S: Final = 2.0
_JOIN_S: Final = 0.5
_GONE: Final = -1  # no revision
_GONE_S: Final = 30.0  # in which a worker of the fleet brings them back


def routes_in_force(settings: Settings, store: RouteStore) -> RouteTable:
    """Return the routes that the settings give; where they give none, those of the group in Redis.

    Raises:
        InvalidRoute: what is stored cannot be used here.
        StoreError: the store could not answer.
    """
    if settings.routes is not None:
        return settings_table(settings.routes)
    table = stored_table(store.routes(settings.kafka.group))
    kafka = settings.kafka
    check_routes(table.routes, dead_letters=kafka.dead_letters, policy_topic=kafka.policy_topic)
    return table


def routes_gone(settings: Settings, why: str) -> RoutesGone:
    """Return the error that Redis has lost the routes of the group."""
    return RoutesGone(
        f"the routes of group {settings.kafka.group} are gone from Redis, {why}; nothing is read "
        "by guess: `offramp policy rebuild` brings them back from topic "
        f"{settings.kafka.policy_topic}; where that has none, `offramp route add` them again"
    )


class RouteWatch:
    """The routes in force, and whether they have changed.

    A thread asks for the revision every other second, so that a store that does not answer keeps
    nobody waiting. Meanwhile, and while what is stored cannot be used, the last routes stay.
    """

    def __init__(self, settings: Settings, store: RouteStore, *, gone_s: float = _GONE_S) -> None:
        """Read the routes once; `start` follows them from then on.

        Args:
            settings: the group, and routes where they are given there.
            store: where the others are.
            gone_s: how long they may be gone from there.

        Raises:
            InvalidRoute, StoreError: see `routes_in_force`.
        """
        self._settings = settings
        self._store = store
        self._latest = routes_in_force(settings, store)
        self._seen = self._latest.revision
        self._trouble = ""
        self._gone_s = gone_s
        self._gone_since: float | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="offramp-routes", daemon=True)

    @property
    def latest(self) -> RouteTable:
        """The routes in force; another object when they have changed."""
        return self._latest

    def start(self) -> None:
        """Follow changes, unless the settings give the routes."""
        if self._latest.source != "settings":
            self._thread.start()

    def check(self) -> None:
        """Return unless the routes have been gone from Redis for too long.

        Those that are known are in force meanwhile. But changes reach nobody any more, and a
        worker that starts again would not know what to read.

        Raises:
            RoutesGone: they were not brought back in time.
        """
        since = self._gone_since
        if since is not None and time.monotonic() > since + self._gone_s:
            raise routes_gone(self._settings, f"and not back after {self._gone_s:g} s")

    def close(self) -> None:
        """Follow no longer."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(_JOIN_S)

    def look(self) -> None:
        """Take the routes that are in force now, if they can be used."""
        group = self._settings.kafka.group
        try:
            revision = self._store.routes_revision(group)
            if revision == 0 and self._seen:  # an emptied store says nothing about what to read
                if self._gone_since is None:
                    self._gone_since = time.monotonic()
                    log.error("routes are gone from redis, the last ones stay group=%s", group)
                    self._seen = _GONE  # whatever comes next is to be looked at
                if self._store.routes(group).lost:
                    self._put_back()
                return
            self._gone_since = None
            if revision == self._seen:
                self._say("")
                return
            table = routes_in_force(self._settings, self._store)
        except (InvalidRoute, PolicyStateError) as error:
            self._say(f"routes cannot be read, the last ones stay error={error}")
            return
        self._say("")
        self._seen = table.revision
        if table != self._latest:
            self._latest = table

    def _put_back(self) -> None:
        """Write the last routes to a store that lost them alone; of several workers one does it.

        Their history is there still, so it is the store that they were read from. One without it
        was emptied, or is another: what that one has to say comes from the policy topic. So does
        what came after the routes that this worker knows, where it has not heard of that yet.
        """
        known, by = self._latest, self._settings.instance
        routes = StoredRoutes(known.revision, tuple(known.documents()))
        reason = "they were gone from the store"
        group = self._settings.kafka.group
        if self._store.put_routes_back(group, routes, by=by, reason=reason):
            log.warning("routes were written to redis again revision=%d", known.revision)
            self._seen, self._gone_since = known.revision, None

    def _follow(self) -> None:
        while not self._stopped.wait(_EVERY_S):
            self.look()

    def _say(self, trouble: str) -> None:
        """Log what is wrong, once for each kind of trouble."""
        if trouble and trouble != self._trouble:
            log.warning("%s", trouble)
        self._trouble = trouble
