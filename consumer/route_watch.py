"""Follows the routes of a group while a worker runs, in a thread of its own."""

from __future__ import annotations

import logging
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from consumer.errors import InvalidRoute
from consumer.route_table import RouteTable, check_routes, settings_table, stored_table
from policy_state.errors import PolicyStateError, SettingsConflict

if TYPE_CHECKING:
    from consumer.settings import Settings
    from policy_state.routing import RouteStore

log = logging.getLogger("offramp.routes")

_EVERY_S: Final = 2.0
_JOIN_S: Final = 0.5


def routes_in_force(settings: Settings, store: RouteStore) -> RouteTable:
    """Return the routes that the settings give; where they give none, those of the group in Redis.

    Raises:
        InvalidRoute: what is stored cannot be used here.
        StoreError: the store could not answer.
    """
    if settings.routes is not None:
        return settings_table(settings.routes)
    table = stored_table(store.routes(settings.kafka.group))
    check_routes(table.routes, dead_letters=settings.kafka.dead_letters)
    return table


class RouteWatch:
    """The routes in force, and whether they have changed.

    A thread asks for the revision every other second, so that a store that does not answer keeps
    nobody waiting. Meanwhile, and while what is stored cannot be used, the last routes stay.
    """

    def __init__(self, settings: Settings, store: RouteStore) -> None:
        """Read the routes once; `start` follows them from then on.

        Raises:
            InvalidRoute, StoreError: see `routes_in_force`.
        """
        self._settings = settings
        self._store = store
        self._latest = routes_in_force(settings, store)
        self._seen = self._latest.revision
        self._trouble = ""
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
            if revision == self._seen:
                self._say("")
                return
            if revision == 0:  # a store that was emptied says nothing about what to read
                self._put_back()
                return
            table = routes_in_force(self._settings, self._store)
        except (InvalidRoute, PolicyStateError) as error:
            self._say(f"routes cannot be read, the last ones stay error={error}")
            return
        self._say("")
        self._seen, self._latest = table.revision, table

    def _put_back(self) -> None:
        """Write the last routes to a store that lost them; of several workers one does it."""
        log.error("routes are gone from the store, the last ones stay and are written there again")
        try:
            stored = self._store.write_routes(
                self._settings.kafka.group,
                self._latest.documents(),
                revision=0,
                action="routes-put-back",
                detail={"routes": self._latest.names},
                by=self._settings.instance,
                reason="they were gone from the store",
                automatic=True,
            )
        except SettingsConflict:  # another worker, or an operator, was first: seen next time
            return
        self._seen = stored.revision
        self._latest = replace(self._latest, revision=stored.revision)

    def _follow(self) -> None:
        while not self._stopped.wait(_EVERY_S):
            self.look()

    def _say(self, trouble: str) -> None:
        """Log what is wrong, once for each kind of trouble."""
        if trouble and trouble != self._trouble:
            log.warning("%s", trouble)
        self._trouble = trouble
