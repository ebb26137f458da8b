"""Has what a worker finds uncounted in its partitions counted, beside its batches."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Final

from consumer.errors import ConsumerError, InvalidSettings
from consumer.kafka.predicted_to import former_routes, where_predicted
from consumer.learning.repair import Repaired, repair, uncounted
from policy_state.errors import PolicyStateError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from consumer.kafka.predicted_to import Former
    from consumer.routes.route import Route
    from consumer.settings.load import Settings
    from policy_state.store.offsets import Range
    from policy_state.store.redis.store import RedisStore

log = logging.getLogger("offramp.repairing")

_EVERY_S: Final = 5.0
_PAUSE_S: Final = (5.0, 10.0, 20.0, 30.0)  # after failures in a row
_JOIN_S: Final = 0.5
MENDS: Final = "`offramp policy doctor --repair` counts them from the predictions"


class Repairs:
    """Looks every few seconds whether all that is committed is counted, in a thread of its own.

    What is missing at two looks was left behind: by a worker that died with texts it held, by a
    Redis that lost its latest writes, or all of them. It is counted from the predictions.
    """

    def __init__(
        self,
        settings: Settings,
        store: RedisStore,
        *,
        routes: Callable[[], Collection[Route]],
        away: Callable[[], bool],
    ) -> None:
        """Do nothing yet.

        Args:
            settings: of the worker.
            store: with the policy open.
            routes: those in force; the history tells of others.
            away: whether the store does not answer at the moment.
        """
        self._settings = settings
        self._store = store
        self._routes = routes
        self._seen: Collection[Route] | None = None
        self._former: frozenset[Former] = frozenset()
        self._away = away
        self._places: Mapping[str, int] = {}
        self._open: dict[str, tuple[Range, ...]] = {}  # at the last look
        self._given_up: dict[str, tuple[Range, ...]] = {}
        self._failures = 0
        self._next = time.monotonic() + _EVERY_S
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="offramp-repairs", daemon=True)

    def start(self) -> None:
        """Begin, unless the settings say that nothing is to be read back."""
        if self._settings.store.repair_records:
            self._thread.start()

    def close(self) -> None:
        """End; what is being read is not counted any more."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(_JOIN_S)

    def follow(self, places: Mapping[str, int]) -> None:
        """Take note up to where this worker's partitions are committed, by watermark name."""
        self._places = places

    def _run(self) -> None:
        while not self._stopped.wait(max(0.1, self._next - time.monotonic())):
            self._next = time.monotonic() + _EVERY_S
            if self._away():
                continue
            try:
                self._look()
                self._failures = 0
            except (ConsumerError, PolicyStateError) as error:
                pause_s = _PAUSE_S[min(self._failures, len(_PAUSE_S) - 1)]
                self._failures += 1
                self._next = time.monotonic() + pause_s
                log.warning("not repaired, tried again pause_s=%.0f error=%s", pause_s, error)

    def _look(self) -> None:
        routes = self._routes()
        if routes != self._seen:
            self._take_history()
            self._seen = routes
        places = self._places  # before the watermarks are read: counting comes before committing
        found = uncounted(self._store.watermarks(), places)
        known, self._open = self._open, found
        due = {s for s, pieces in found.items() if s in known and self._given_up.get(s) != pieces}
        if not due:
            return
        settings = self._settings
        log.info("not counted partitions=%d offsets=%d", len(due), _offsets(found, due))
        try:
            self._take_history()
            done = repair(
                settings.kafka,
                self._store,
                where_predicted(settings, routes, self._former),
                sources=due,
                most_records=settings.store.repair_records,
                go_on=lambda: not self._stopped.is_set(),
            )
        except InvalidSettings:  # nothing is committed any more
            return
        self._tell(done, found)

    def _tell(self, done: Repaired, found: Mapping[str, tuple[Range, ...]]) -> None:
        if done.offsets:
            log.info("repaired texts=%d offsets=%d", done.counted, done.offsets)
            detail = {"counted": done.counted, "offsets": done.offsets}
            self._store.note(
                "repair", detail, by=self._settings.instance, reason="", automatic=True
            )
        if done.left and not self._stopped.is_set():
            self._given_up |= {source: found[source] for source in done.left if source in found}
            log.error(
                "texts may be uncounted for good partitions=%d offsets=%d: their predictions "
                "are further back than store.repair_records %d, or gone; %s",
                *(len(done.left), _offsets(found, done.left)),
                *(self._settings.store.repair_records, MENDS),
            )

    def _take_history(self) -> None:
        """Take note of the routes of the past; a store that is emptied later takes none away."""
        self._former |= {*former_routes(self._store, self._settings.kafka.group)}


def _offsets(found: Mapping[str, tuple[Range, ...]], sources: Collection[str]) -> int:
    return sum(last - first for s in sources for first, last in found.get(s, ()))
