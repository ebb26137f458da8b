"""Counts what was predicted and never counted: from the predictions, back to where it begins."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from consumer.errors import ConsumerError, InvalidSettings
from consumer.kafka.predicted_to import former_routes, where_predicted
from consumer.learning.prediction_log import PredictionLog, ReadBack
from consumer.process.rounds import Rounds
from policy_state.errors import PolicyStateError
from policy_state.health.rebuild import checked_marks, rebuild
from policy_state.store.offsets import Counted

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from consumer.kafka.predicted_to import Former, PredictedTo
    from consumer.routes.route import Route
    from consumer.settings.load import Settings
    from consumer.settings.sections import KafkaSettings
    from policy_state.store.admin import PolicyAdmin
    from policy_state.store.offsets import Range
    from policy_state.store.redis.store import RedisStore

log = logging.getLogger("offramp.repairing")

FIXES: Final = "`offramp policy doctor --repair` counts them from the predictions"
_EVERY_S: Final = 5.0
_PAUSE_S: Final = (5.0, 10.0, 20.0, 30.0)  # after failures in a row


@dataclass(frozen=True, slots=True)
class Repaired:
    """What a repair did."""

    counted: int = 0  # texts
    offsets: int = 0  # that were not counted, and are now, those without a text included
    left: tuple[str, ...] = ()  # partitions, by watermark name, of which not all could be found


def uncounted(
    marks: Mapping[str, Counted], committed: Mapping[str, int]
) -> dict[str, tuple[Range, ...]]:
    """Return the offsets that are committed and not counted, by watermark name.

    >>> uncounted({"t/0": Counted(20), "t/1": Counted(9)}, {"t/0": 20, "t/1": 12, "t/2": 3})
    {'t/1': ((9, 12),), 't/2': ((0, 3),)}
    """
    found = {s: marks.get(s, Counted()).open_below(end) for s, end in committed.items()}
    return {source: pieces for source, pieces in found.items() if pieces}


def repair(  # noqa: PLR0913 - the limits that a worker has and a command has not
    settings: KafkaSettings,
    store: PolicyAdmin,
    where: PredictedTo,
    *,
    sources: Collection[str] | None = None,
    most_records: int | None = None,
    go_on: Callable[[], bool] = lambda: True,
) -> Repaired:
    """Count what the group has committed and nobody has counted; several may do so at a time.

    A partition of which not every text can be found is left as it is.

    Args:
        settings: addresses, and the group.
        store: with the policy open.
        where: the topics that the group's predictions go to, and went to.
        sources: the partitions in question, by watermark name; default: all.
        most_records: how many predictions to read back at most; default: as many as there are.
        go_on: asked now and then; where it says no, nothing more is counted.

    Raises:
        StreamUnavailable, StoreError: Kafka or the store does not answer, or refuses.
        StoreCorrupt: watermarks went missing, so texts would be counted twice.
        InvalidSettings: the group has committed nothing.
    """
    meta = store.describe().meta
    with PredictionLog(
        settings, where.topics, fingerprint=meta.fingerprint, exits=meta.exits
    ) as predictions:
        found = predictions.committed(at_least={})
        upto = {
            key: end
            for key, end in found.items()
            if sources is None or f"{key[0]}/{key[1]}" in sources
        }
        marks = checked_marks(store)
        wanted = uncounted(marks, {f"{t}/{number}": end for (t, number), end in upto.items()})
        upto = {key: end for key, end in upto.items() if f"{key[0]}/{key[1]}" in wanted}
        if not upto:
            return Repaired()
        if not where.topics:  # nothing can be found where nothing is looked through
            return Repaired(left=tuple(sorted(wanted)))
        back = ReadBack(predictions, wanted, where.gone, most_records=most_records, go_on=go_on)
        done = rebuild(store, back.texts(), upto=upto, left_out=back.not_found, frozen_too=False)
    left = back.not_found()
    offsets = sum(
        last - first
        for source, pieces in wanted.items()
        if source not in left
        for first, last in pieces
    )
    return Repaired(done.counted, offsets - done.failed_offsets, tuple(sorted(left)))


class Repairs(Rounds):
    """Looks every few seconds whether all that is committed is counted, in a separate thread.

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
        super().__init__("offramp-repairs", first_s=_EVERY_S)
        self._settings = settings
        self._store = store
        self._routes = routes
        self._seen: Collection[Route] | None = None
        self._former: frozenset[Former] = frozenset()
        self._away = away
        self._committed: Mapping[str, int] = {}
        self._open: dict[str, tuple[Range, ...]] = {}  # at the last look
        self._given_up: dict[str, tuple[Range, ...]] = {}
        self._failures = 0

    def start(self) -> None:
        """Begin, unless the settings say that nothing is to be read back."""
        if self._settings.store.repair_records:
            super().start()

    def follow(self, committed: Mapping[str, int]) -> None:
        """Take note up to where this worker's partitions are committed, by watermark name."""
        self._committed = committed

    def _round(self) -> float:
        if self._away():
            return _EVERY_S
        try:
            self._look()
        except (ConsumerError, PolicyStateError) as error:
            pause_s = _PAUSE_S[min(self._failures, len(_PAUSE_S) - 1)]
            self._failures += 1
            log.warning("cannot repair now, trying again pause_s=%.0f error=%s", pause_s, error)
            return pause_s
        self._failures = 0
        return _EVERY_S

    def _look(self) -> None:
        routes = self._routes()
        if routes != self._seen:
            self._take_history()
            self._seen = routes
        committed = self._committed  # read before the watermarks: counting precedes committing
        found = uncounted(self._store.watermarks(), committed)
        known, self._open = self._open, found
        due = {s for s, pieces in found.items() if s in known and self._given_up.get(s) != pieces}
        if not due:
            return
        log.info("found uncounted offsets partitions=%d offsets=%d", len(due), _offsets(found, due))
        try:
            self._take_history()
            done = repair(
                self._settings.kafka,
                self._store,
                where_predicted(self._settings, routes, self._former),
                sources=due,
                most_records=self._settings.store.repair_records,
                go_on=lambda: not self._stopped.is_set(),
            )
        except InvalidSettings:  # nothing is committed any more
            return
        self._tell(done, found)

    def _tell(self, done: Repaired, found: Mapping[str, tuple[Range, ...]]) -> None:
        if done.offsets:
            log.info("repaired texts=%d offsets=%d", done.counted, done.offsets)
            detail = {"counted": done.counted, "offsets": done.offsets}
            by = self._settings.instance
            self._store.note("repair", detail, by=by, reason="", automatic=True)
        if done.left and not self._stopped.is_set():
            self._given_up |= {source: found[source] for source in done.left if source in found}
            log.error(
                "texts may stay uncounted partitions=%d offsets=%d: their predictions are further "
                "back than store.repair_records %d, or deleted; %s",
                *(len(done.left), _offsets(found, done.left)),
                *(self._settings.store.repair_records, FIXES),
            )

    def _take_history(self) -> None:
        """Take note of the routes of the past; a store that is emptied later takes none away."""
        self._former |= {*former_routes(self._store, self._settings.kafka.group)}


def _offsets(found: Mapping[str, tuple[Range, ...]], sources: Collection[str]) -> int:
    return sum(last - first for s in sources for first, last in found.get(s, ()))
