"""The worker: poll, parse, route, decide, infer, commit, until told to stop."""

from __future__ import annotations

import logging
import time
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from consumer.errors import (
    RecordsTooLarge,
    ServiceUnavailable,
    SourceGone,
    StoppedByError,
    StreamRefused,
    StreamUnavailable,
    TextsNotCounted,
    TopicRefused,
    WorkerStuck,
)
from consumer.events.outgoing import encoded, set_aside
from consumer.kafka.reading.batch import Batch
from consumer.kafka.stream import KafkaStream
from consumer.laps import Laps
from consumer.learning.repair import FIXES, Repairs
from consumer.routes.route import subscription
from consumer.worker.idle import IdleCommits
from consumer.worker.pace import Pace
from consumer.worker.pipeline import Abandoned, Pipeline
from consumer.worker.reporting import Observer
from consumer.worker.standstill import Standstill
from consumer.worker.waiting import Trouble
from policy_state.errors import StoreUnavailable

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Sequence

    from consumer.events.outgoing import Outgoing
    from consumer.events.record import BatchOutcome, DeadLetter
    from consumer.offramp import Offramp
    from consumer.processor import Prepared
    from consumer.routes.route import Route
    from consumer.settings.load import Settings

log = logging.getLogger("offramp.worker")

_WAIT_S = 0.05
_PASSING = (StreamUnavailable, StoreUnavailable, ServiceUnavailable, Abandoned)


class Worker:
    """Connects the steps: reads batches, runs them, commits them.

    A batch is tokenised while another is computed and a third one commits. A batch that could not
    be committed is given back together with all later ones, and read again.
    """

    def __init__(
        self,
        stream: KafkaStream,
        offramp: Offramp,
        settings: Settings,
        *,
        came_round: Callable[[], None] = lambda: None,
        observer: Observer = Observer(),  # noqa: B008  (it has no state)
    ) -> None:
        self._tell_watchdog = came_round
        self._observer = observer
        self._stream = stream
        self._offramp = offramp
        self._counting = offramp.counting
        self._settings = settings
        self._still = Standstill(stream, self._routes, dead_letters=settings.kafka.dead_letters)
        self._idle_commits = IdleCommits(stream, offramp.counting, self._still)
        self._pipeline: Pipeline[Batch, Prepared, BatchOutcome] = Pipeline(
            self._prepare, self._compute, self._commit
        )
        self._repairs = Repairs(
            settings,
            offramp.store,
            routes=self._routes,
            away=lambda: offramp.counting.known.away,
        )
        self._draining = False
        self._trouble = Trouble(give_up_s=settings.worker.give_up_s)
        self._done = Counter(events=0, truncated=0, dead_letters=0, batches=0)
        self._pace = Pace()
        self._committed_at = time.monotonic()

    def run(self, stop: threading.Event) -> None:
        """Process batches until `stop` is set, then finish the open ones.

        Raises:
            StreamUnavailable, StoreUnavailable: nothing could be committed for too long.
            RoutesGone: Redis has lost the routes, and nobody has restored them.
            StreamRefused: Kafka refuses this user a right that its first batch needs.
            WorkerFenced: another worker has the same name.
            WorkerStuck: a batch is not finished in time.
            ModelFailed: the model fails on every text.
            StoppedByError: a record cannot be used, and the settings say to stop.
            TextsNotCounted: it was told to stop, and the store does not take its counts.
        """
        self._repairs.start()
        try:
            while not stop.is_set():
                self._heartbeat()
                try:
                    self._advance()
                except _PASSING as error:
                    self._recover(error, stop)
            self._drain()
        except BaseException as error:
            held = self._counting.pending.texts
            if held and not isinstance(error, TextsNotCounted):  # which reports it itself
                log.error("ends with texts not counted texts=%d: %s", held, FIXES)  # noqa: TRY400
            raise
        finally:
            self._counting.known.close()
            self._observer.close()
            self._repairs.close()
            self._still.close()
            self._pipeline.close()

    def _advance(self) -> None:
        self._offramp.watch.check()
        self._still.keep_up(self._pipeline.batches)
        if self._pipeline.settle():
            self._trouble.committed()
        if self._pipeline.oldest_s > self._settings.worker.stuck_s:
            raise self._stuck()
        if self._pipeline.idle:
            self._counting.flush()  # counts that are held do not wait for the next text
        other_routes = self._offramp.watch.latest is not self._offramp.in_force.routes
        if other_routes and self._pipeline.idle:
            self._take_routes()
        elif other_routes or not self._pipeline.has_room:
            if not self._pipeline.wait(_WAIT_S):
                self._stream.keep_up(0)  # collecting the next batch does this too
        elif batch := self._stream.collect(self._settings.batch):
            self._pipeline.submit(batch)
        elif self._pipeline.idle:
            self._trouble.idle()
            self._idle_commits.keep_up()

    def _prepare(self, batch: Batch) -> Prepared:
        return self._still.prepare(self._offramp.processor, batch.records)

    def _compute(self, prepared: Prepared) -> BatchOutcome:
        outcome = self._offramp.run(prepared)
        return replace(outcome, dead_letters=tuple(filter(self._kept, outcome.dead_letters)))

    def _take_routes(self) -> None:
        """Continue with other routes; no open batch was read by the old ones."""
        table = self._offramp.watch.latest
        log.info("routes changed now=%s routes=%s", table.version, ",".join(table.names))
        self._stream.subscribe(subscription(table.routes))
        self._offramp.follow(table)
        self._still.follow()

    def _routes(self) -> tuple[Route, ...]:
        return self._offramp.in_force.routes.routes

    def _kept(self, letter: DeadLetter) -> bool:
        """Return whether to write a dead letter; stop the worker if the settings say so."""
        action = getattr(self._settings.errors, letter.stage)
        if action == "stop":
            raise StoppedByError(f"{letter.record.position}: {letter.stage}: {letter.message}")
        if action == "skip":
            log.warning("skipped position=%s class=%s", letter.record.position, letter.error_class)
        return bool(action == "dead-letter")

    def _commit(self, batch: Batch, outcome: BatchOutcome) -> None:
        while True:
            batch, outcome = self._still.left_out(batch, outcome)
            if not batch.records:
                break
            try:
                outcome, outgoing = encoded(
                    outcome,
                    dead_letters=self._settings.kafka.dead_letters,
                    instance=self._settings.instance,
                    kept=self._kept,
                )
                self._commit_once(batch, outcome, outgoing)
                break
            except SourceGone as error:
                self._still.gone(error.topic, batch)
            except TopicRefused as error:
                self._still.refused(error, outcome)
            except RecordsTooLarge as error:
                log.warning("too large for Kafka records=%d", len(error.indexes))
                outcome = set_aside(outcome, error.indexes, kept=self._kept)

    def _commit_once(
        self, batch: Batch, outcome: BatchOutcome, outgoing: Sequence[Outgoing]
    ) -> None:
        laps = Laps()
        predictions = outcome.predictions

        def count() -> None:
            laps.lap("write")
            self._counting.count(batch.records, predictions, outcome.epochs, begins=batch.begins)
            laps.lap("apply")

        self._stream.commit(batch, outgoing, before_commit=count)
        laps.lap("commit")
        self._counting.committed()
        self._still.committed(batch)
        truncated = sum([p.truncated for p in predictions])
        self._done.update(
            events=len(predictions),
            truncated=truncated,
            dead_letters=len(outcome.dead_letters),
            batches=1,
        )
        self._committed_at = time.monotonic()
        self._observer.committed(batch, outcome, laps.done, truncated=truncated)

    def _recover(self, error: Exception, stop: threading.Event) -> None:
        """Give back all open batches and wait a little; end if errors have lasted too long."""
        new = self._done["batches"] == 0  # so its settings may be wrong
        if (pause_s := self._trouble.failed()) is None or (
            new and isinstance(error, StreamRefused)
        ):
            raise error
        log.warning("batches given back times=%d error=%s", self._trouble.times, error)
        left_s = max(0.0, self._settings.worker.stuck_s - self._pipeline.oldest_s)
        try:
            batches = self._pipeline.abandon(timeout_s=left_s)
            self._observer.given_back(batches, error)
            self._came_round()
            self._stream.rewind(batches)
        except TimeoutError as stuck:
            raise self._stuck() from stuck
        except StreamUnavailable as again:
            log.warning("batches could not be given back error=%s", again)
        self._came_round()
        stop.wait(pause_s)

    def _stuck(self) -> WorkerStuck:
        limit_s = self._settings.worker.stuck_s
        return WorkerStuck(f"a batch was not finished in {limit_s:.0f} s")

    def _drain(self) -> None:
        """Finish and commit the open batches within `worker.drain_s`."""
        deadline = time.monotonic() + self._settings.worker.drain_s
        self._draining = True
        self._came_round()
        try:
            while not self._pipeline.idle and time.monotonic() < deadline:
                self._came_round()
                self._pipeline.wait(_WAIT_S)
                self._pipeline.settle()
            while not (counted := self._counting.flush(insist=True)) and (
                time.monotonic() < deadline
            ):
                self._came_round()
                time.sleep(_WAIT_S)
            if counted:
                self._stream.positions.keep_up(insist=True)
            if not self._pipeline.idle:
                log.warning("not finished in time, will be read again after a restart")
        except _PASSING as error:
            log.warning("not finished before the stop, will be read again error=%s", error)
        if held := self._counting.pending.texts:
            raise TextsNotCounted(
                f"{held} texts are predicted and not counted: the store took none within "
                f"worker.drain_s {self._settings.worker.drain_s:g}; the next worker that reads "
                f"their partitions counts them, or {FIXES}"
            )

    def _came_round(self) -> None:
        """Show that the main loop has made a turn."""
        self._tell_watchdog()
        trouble = "errors keep it from committing" if self._trouble.times else ""
        self._observer.came_round(
            trouble="finishes its batches and ends" if self._draining else trouble,
            idle=self._pipeline.idle,
            pace=self._pace.texts_per_s,
            standing=self._still.count,
        )

    def _heartbeat(self) -> None:
        """Tell the other workers that this one lives; a failure is logged and stops nothing."""
        self._came_round()
        self._repairs.follow(self._stream.committed())
        if not self._counting.known.away:
            self._stream.positions.keep_up()
        now, texts = time.monotonic(), self._done["events"] + self._done["dead_letters"]
        self._pace.note(now, busy_s=self._pipeline.busy_s, texts=texts)
        self._offramp.keep_up(
            lambda: {
                "partitions": ",".join(f"{t}[{p}]" for t, p in self._stream.assigned()[:50]),
                "stands_still": self._still.said(),
                "texts_per_s": f"{self._pace.texts_per_s:.2f}",
                "last_commit_s": int(now - self._committed_at),
                **self._done,
            }
        )
