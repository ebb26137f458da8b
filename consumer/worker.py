"""The worker: poll, parse, route, decide, infer, commit, until told to stop."""

from __future__ import annotations

import logging
import os
import time
from collections import Counter, OrderedDict
from typing import TYPE_CHECKING

from consumer import __version__
from consumer.errors import StreamUnavailable
from consumer.events import dead_letter_headers, encode_prediction
from consumer.kafka_stream import KafkaStream, Outgoing
from consumer.records import Prediction
from policy_state.errors import StoreUnavailable
from policy_state.stats import ExitStats
from policy_state.store import PartitionDeltas, Status

if TYPE_CHECKING:
    import threading
    from collections.abc import Mapping, Sequence

    from consumer.records import DeadLetter, Record
    from consumer.settings import Settings
    from consumer.step import Step
    from policy_state.store import DomainSnapshot, StatsStore

log = logging.getLogger("offramp.worker")

_HEARTBEAT_S = 2.0
_HEARTBEAT_TTL_S = 15.0
_STALE_S = 5.0
_SNAPSHOTS = 10_000
_RETRY_S = (0.2, 0.5, 1.0, 2.0, 5.0, 5.0, 10.0, 10.0)


class Worker:
    """Connects the steps: reads batches, runs them, commits them."""

    def __init__(
        self, stream: KafkaStream, step: Step, store: StatsStore, settings: Settings
    ) -> None:
        self._stream = stream
        self._step = step
        self._store = store
        self._settings = settings
        self._snapshots: OrderedDict[str, tuple[DomainSnapshot, float]] = OrderedDict()
        self._done: Counter[str] = Counter()
        self._started = time.time()
        self._next_heartbeat = 0.0

    def run(self, stop: threading.Event) -> None:
        """Process batches until `stop` is set; the batch at hand is finished first.

        Raises:
            StreamUnavailable, StoreUnavailable: still so after the last retry.
            WorkerFenced: another worker has this one's name.
        """
        failures = 0
        while not stop.is_set():
            self._heartbeat()
            records = self._stream.poll(self._settings.batch)
            if not records:
                continue
            try:
                self._process(records)
                failures = 0
            except (StreamUnavailable, StoreUnavailable) as error:
                if failures == len(_RETRY_S):
                    raise
                log.warning("batch given back attempt=%d error=%s", failures + 1, error)
                self._stream.rewind(records)
                stop.wait(_RETRY_S[failures])
                failures += 1

    def _process(self, records: Sequence[Record]) -> None:
        begun = time.monotonic()
        events, letters = self._step.read(records)
        exits = self._step.decide(events, self._current({event.domain for event in events}))
        predictions = self._step.predict(events, exits)
        inferred = time.monotonic()
        self._stream.commit(
            records,
            [*map(self._prediction, predictions), *map(self._dead_letter, letters)],
            before_commit=lambda: self._count(records, predictions),
        )
        self._done.update(events=len(events), dead_letters=len(letters), batches=1)
        log.info(
            "batch events=%d dead_letters=%d domains=%d depth=%.2f infer_ms=%.0f total_ms=%.0f",
            len(events),
            len(letters),
            len({event.domain for event in events}),
            sum(p.layer for p in predictions) / max(1, len(predictions)),
            (inferred - begun) * 1000,
            (time.monotonic() - begun) * 1000,
        )

    def _current(self, domains: set[str]) -> Mapping[str, DomainSnapshot]:
        """Return the counters of the domains, read anew where they are not fresh from a commit."""
        now = time.monotonic()
        old = [
            d for d in domains if d not in self._snapshots or self._snapshots[d][1] < now - _STALE_S
        ]
        if old:
            self._remember(self._store.read(old))
        return {domain: self._snapshots[domain][0] for domain in domains}

    def _count(self, records: Sequence[Record], predictions: Sequence[Prediction]) -> None:
        """Add the batch to the shared counters; what was counted before is left out."""
        parts = self._parts(records, predictions)
        while parts:
            answer = self._store.apply(parts)
            self._remember(answer.snapshots)
            parts = [
                self._part(part, predictions, start=outcome.counted_upto)
                for part, outcome in zip(parts, answer.outcomes, strict=True)
                if outcome.status is Status.OVERLAP
            ]

    def _parts(
        self, records: Sequence[Record], predictions: Sequence[Prediction]
    ) -> list[PartitionDeltas]:
        spans: dict[tuple[str, int], tuple[int, int]] = {}
        for r in records:
            first = spans.get((r.topic, r.partition), (r.offset, 0))[0]
            spans[r.topic, r.partition] = (first, r.offset + 1)
        return [
            self._part(
                PartitionDeltas(self._stream.topic_id(topic), partition, first, following, {}),
                predictions,
                start=first,
            )
            for (topic, partition), (first, following) in spans.items()
        ]

    def _part(
        self, part: PartitionDeltas, predictions: Sequence[Prediction], *, start: int
    ) -> PartitionDeltas:
        """Return the part from offset `start` on, with what its texts add to their domains."""
        exits = self._step.model.exits
        deltas: dict[str, ExitStats] = {}
        for prediction in predictions:
            record = prediction.event.record
            if (
                record.offset >= start
                and record.partition == part.partition
                and self._stream.topic_id(record.topic) == part.topic_id
            ):
                domain = prediction.event.domain
                learnt = ExitStats.from_labels(prediction.exit_labels, exits=exits)
                deltas[domain] = deltas.get(domain, ExitStats.zeros(exits)) + learnt
        return PartitionDeltas(part.topic_id, part.partition, start, part.next_offset, deltas)

    def _remember(self, snapshots: Mapping[str, DomainSnapshot]) -> None:
        now = time.monotonic()
        for domain, snapshot in snapshots.items():
            self._snapshots[domain] = (snapshot, now)
            self._snapshots.move_to_end(domain)
        while len(self._snapshots) > _SNAPSHOTS:
            self._snapshots.popitem(last=False)

    @staticmethod
    def _prediction(prediction: Prediction) -> Outgoing:
        event, record = prediction.event, prediction.event.record
        value = encode_prediction(prediction)
        return Outgoing(event.output, record.key, value, (), record.partition)

    def _dead_letter(self, letter: DeadLetter) -> Outgoing:
        record, topic = letter.record, self._settings.kafka.dead_letters
        headers = dead_letter_headers(letter, instance=self._settings.instance, version=__version__)
        return Outgoing(topic, record.key, record.value, headers, record.partition)

    def _heartbeat(self) -> None:
        """Tell the others that this worker lives; a failure is logged, it stops nothing."""
        now = time.monotonic()
        if now < self._next_heartbeat:
            return
        self._next_heartbeat = now + _HEARTBEAT_S
        fields: dict[str, str | int] = {
            "group": self._settings.kafka.group,
            "model": self._step.model.fingerprint,
            "pid": os.getpid(),
            "started": int(self._started),
            "partitions": ",".join(self._stream.assigned()[:50]),
            **self._done,
        }
        try:
            self._store.heartbeat(self._settings.instance, fields, ttl_s=_HEARTBEAT_TTL_S)
        except StoreUnavailable as error:
            log.warning("heartbeat failed error=%s", error)
