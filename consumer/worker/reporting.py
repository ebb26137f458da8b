"""What a worker reports of itself, to whoever reads its figures and asks for its health."""

from __future__ import annotations

import logging
import os
import time
from collections import Counter, deque
from typing import TYPE_CHECKING, Final

from consumer import __version__
from consumer.errors import InvalidSettings
from consumer.extras import needs
from consumer.laps import Lap
from consumer.metrics import catalogue as m
from consumer.metrics.batch import Seen, add_batch, nothing_yet, seen
from consumer.metrics.gpu import gpu_figures
from consumer.metrics.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from consumer.events.record import BatchOutcome
    from consumer.kafka.group.lag import Standing
    from consumer.kafka.reading.batch import Batch
    from consumer.kafka.stream import KafkaStream
    from consumer.metrics.catalogue import Key, Metric
    from consumer.metrics.report import Reporter
    from consumer.metrics.traces import Traces
    from consumer.offramp import Offramp
    from consumer.settings.load import Settings

log = logging.getLogger("offramp.worker")

_EVERY_S: Final = 1.0
_COUNT_EVERY_S: Final = 0.2
_GPU_EVERY_S: Final = 5.0
_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_ANSWER_S: Final = 5.0  # within which a broker answers that is asked for metadata


class Observer:
    """Is told what a worker does. This one logs and traces batches, and reports nothing."""

    def __init__(self, traces: Traces | None = None) -> None:
        """Send spans of batches to these traces, if there are any."""
        self._traces = traces

    def committed(
        self,
        batch: Batch,
        outcome: BatchOutcome,
        laps: Mapping[str, Lap],
        *,
        truncated: int,
    ) -> None:
        """Log the one line of a committed batch, and send its trace.

        Args:
            batch: what was read.
            outcome: what became of it, as it was written.
            laps: the stages of its commit.
            truncated: how many texts were longer than the model reads.
        """
        if log.isEnabledFor(logging.INFO):
            times = list(laps.values())
            _log(outcome, truncated=truncated, commit_s=times[-1].ended - times[0].begun)
        if self._traces is not None:
            offset_s = batch.taken_at - batch.taken
            done = _stages(batch, outcome, laps)
            self._traces.committed(batch.records, outcome, done, since_1970_s=offset_s)

    def given_back(self, batches: Sequence[Batch], error: Exception) -> None:
        """Take note that open batches were given back because of an error."""
        if self._traces is not None:
            for batch in batches:
                begun_at = batch.taken_at - (batch.taken - batch.begun)
                self._traces.given_back(batch.records, error, begun_at=begun_at)

    def came_round(
        self, *, trouble: str, idle: bool, pace: float, standing: Callable[[], int]
    ) -> None:
        """Take note of a turn of the main loop.

        Args:
            trouble: why the worker is not ready, for reasons other than its group.
            idle: whether no batch is open.
            pace: how many records it takes in a second of work; 0 if that is not known yet.
            standing: returns how many partitions stand still.
        """

    def close(self) -> None:
        """Report no more."""
        if self._traces is not None:
            self._traces.close()


class Reporting(Observer):
    """Reports committed batches a moment later, and all else once a second."""

    def __init__(
        self,
        reporter: Reporter,
        stream: KafkaStream,
        offramp: Offramp,
        settings: Settings,
        traces: Traces | None = None,
    ) -> None:
        """Begin to follow the lag."""
        super().__init__(traces)
        self._reporter = reporter
        self._stream = stream
        self._counting = offramp.counting
        self._layers = offramp.processor.model.layers
        self._domains = frozenset(settings.metrics.domains)
        self._worker = settings.instance
        policy = offramp.counting.known.policy.meta
        self._info = (self._worker, __version__, policy.name, policy.fingerprint)
        self._reported: Counter[Key] = Counter()
        self._uncounted: deque[Seen] = deque()
        self._next_count = 0.0
        # What the main loop has counted since its last report.
        self._more = nothing_yet(self._domains, len(self._layers))
        self._generation: int | None = None
        self._silence_s = settings.kafka.metadata_max_age_s + _ANSWER_S
        self._trouble = ""
        self._next = 0.0
        self._gpu: dict[Key, float] = {}
        self._next_gpu = 0.0
        self._lag = stream.lag_watch()
        self._lag.start()

    def committed(
        self,
        batch: Batch,
        outcome: BatchOutcome,
        laps: Mapping[str, Lap],
        *,
        truncated: int,
    ) -> None:
        """Log a committed batch, and count it soon."""
        facts = seen(
            batch.records,
            outcome,
            truncated=truncated,
            stages_s={
                stage: ended - begun
                for stage, (begun, ended) in _stages(batch, outcome, laps).items()
            },
            taken_at=batch.taken_at,
            processing_s=time.monotonic() - batch.taken,
            domains=self._domains,
        )
        self._uncounted.append(facts)
        super().committed(batch, outcome, laps, truncated=truncated)

    def given_back(self, batches: Sequence[Batch], error: Exception) -> None:
        """Count it, too."""
        super().given_back(batches, error)
        self._more.add(m.GIVEN_BACK)

    def came_round(
        self, *, trouble: str, idle: bool, pace: float, standing: Callable[[], int]
    ) -> None:
        """Report how things are, if it is time for it or if the worker's readiness changed."""
        now = time.monotonic()
        if now >= self._next_count:
            self._next_count = now + _COUNT_EVERY_S
            self._count()
        if now < self._next and not trouble and not self._trouble:
            return  # asking the group at every turn costs more than all that is reported
        trouble = trouble or self._not_in_group(self._stream.standing())
        if now < self._next and trouble == self._trouble:
            return
        self._next, self._trouble = now + _EVERY_S, trouble
        if now >= self._next_gpu:
            self._next_gpu = now + _GPU_EVERY_S
            self._gpu = gpu_figures(self._worker)
        gauges = self._gauges(idle=idle, pace=pace, standing=standing()) | self._gpu
        more, self._more = self._more, Tally()
        self._add_totals(more)
        self._reporter.turn(trouble, gauges, more)

    def close(self) -> None:
        """Count the rest, and follow the lag no longer."""
        self._count()
        self._lag.close()
        super().close()

    def _count(self) -> None:
        """Report the batches committed since the last call: counted together they cost half."""
        tally = Tally()
        while self._uncounted:
            add_batch(tally, self._uncounted.popleft(), self._layers)
        if tally:
            self._reporter.add(tally)

    def _not_in_group(self, now: Standing) -> str:
        """Return why the worker is not ready as a member of its group, and count generations.

        Joining anew is no reason: it takes a moment, and all workers of a group do it at once.
        """
        if now.generation is not None and now.generation != self._generation:
            new = now.generation - (self._generation or 0)
            self._more.add(m.REBALANCES, new if self._generation and new > 0 else 1)
            self._generation = now.generation
        if self._generation is None:
            return "has not joined its group yet"
        return "no broker answers" if now.silent_s > self._silence_s else ""

    def _gauges(self, *, idle: bool, pace: float, standing: int) -> dict[Key, float]:
        known = self._counting.known
        lag = self._lag.lag(idle=idle)
        values: dict[Metric, float] = {
            m.DEGRADED: known.away,
            m.SNAPSHOT_AGE: known.age_s,
            m.HELD: self._counting.pending.texts,
            m.ASSIGNED: len(self._stream.assigned()),
            m.STANDING: standing,
        }
        if pace:
            values |= {m.PACE: pace, m.BACKLOG: sum(lag.values()) / pace}
        return {
            (m.INFO.name, self._info): 1,
            **{(metric.name, (self._worker,)): value for metric, value in values.items()},
            **{(m.LAG.name, (self._worker, t, str(p))): behind for (t, p), behind in lag.items()},
        }

    def _add_totals(self, tally: Tally) -> None:
        """Add what others count from the start of the worker, as far as it is not reported yet."""
        totals: list[tuple[Metric, int, tuple[str, ...]]] = [
            (m.GAPS, self._counting.gap_offsets, ()),
            (m.LOST, self._counting.pending.lost_texts, ()),
            *((m.APPLIED, count, (name,)) for name, count in self._counting.statuses.items()),
        ]
        for metric, total, labels in totals:
            key = (metric.name, labels)
            tally.add(metric, total - self._reported[key], *labels)
            self._reported[key] = total


def observer(
    reporter: Reporter, stream: KafkaStream, offramp: Offramp, settings: Settings
) -> Observer:
    """Return what reports a worker's doings, if anybody wants reports."""
    traces = traces_to(settings)
    if not reporter.wanted:
        return Observer(traces)
    return Reporting(reporter, stream, offramp, settings, traces)


def traces_to(settings: Settings) -> Traces | None:
    """Return what sends traces, if a standard variable says where to.

    Raises:
        InvalidSettings: another one of these variables has a value that it cannot have.
    """
    if not (name := next(filter(os.environ.get, _ENDPOINTS), None)):
        return None
    try:
        from consumer.metrics.traces import Traces

        return Traces(group=settings.kafka.group, instance=settings.instance)
    except ModuleNotFoundError as error:
        # Platforms give such variables to all containers, so a worker runs without the package.
        log.warning("no traces are sent: %s", needs(name, error, extra="traces") or error)
        return None
    except ValueError as error:
        raise InvalidSettings(
            f"a variable OTEL_... has a value that it cannot have: {error}"
        ) from error


def _stages(batch: Batch, outcome: BatchOutcome, laps: Mapping[str, Lap]) -> dict[str, Lap]:
    return {"poll": Lap(batch.begun, batch.taken), **outcome.laps, **laps}


def _log(outcome: BatchOutcome, *, truncated: int, commit_s: float) -> None:
    predictions = outcome.predictions
    log.info(
        "batch events=%d truncated=%d dead_letters=%d domains=%d depth=%.2f commit_ms=%.0f",
        len(predictions),
        truncated,
        len(outcome.dead_letters),
        len({p.event.domain for p in predictions}),
        sum([p.layer for p in predictions]) / max(1, len(predictions)),
        commit_s * 1000,
    )
