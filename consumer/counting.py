"""What a batch adds to the shared counters, and what the worker last knew of them."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING

from policy_state.stats import ExitStats
from policy_state.store import PartitionDeltas, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from consumer.records import Prediction, Record
    from policy_state.store import DomainSnapshot, StatsStore

_FRESH_S = 5.0
_KEPT = 10_000


class Counting:
    """Counts texts once each, and keeps the snapshots that come back.

    `current` may be called in one thread while `count` runs in another.
    """

    def __init__(self, store: StatsStore, *, topic_id: Callable[[str], str], exits: int) -> None:
        self._store = store
        self._topic_id = topic_id
        self._exits = exits
        self._lock = threading.Lock()
        self._snapshots: OrderedDict[str, tuple[DomainSnapshot, float]] = OrderedDict()

    def current(self, domains: set[str]) -> Mapping[str, DomainSnapshot]:
        """Return the counters of domains, read anew where the last answer is old.

        Raises:
            StoreError: the store cannot tell.
        """
        now = time.monotonic()
        with self._lock:
            known = {d: self._snapshots[d] for d in domains if d in self._snapshots}
        fresh = {d: snapshot for d, (snapshot, at) in known.items() if at > now - _FRESH_S}
        if stale := domains - fresh.keys():
            read = self._store.read(stale)
            self._remember(read)
            fresh |= read
        return fresh

    def count(self, records: Sequence[Record], predictions: Sequence[Prediction]) -> None:
        """Add a batch to the shared counters; what was counted before is left out.

        Args:
            records: all records of the batch, in order per partition.
            predictions: those that became texts.

        Raises:
            StoreError: nothing was counted, or it is not known; calling again is safe.
        """
        texts: dict[tuple[str, int], list[Prediction]] = {}
        for prediction in predictions:
            record = prediction.event.record
            texts.setdefault((record.topic, record.partition), []).append(prediction)
        spans: dict[tuple[str, int], tuple[int, int]] = {}
        for r in records:
            first, _ = spans.get((r.topic, r.partition), (r.offset, 0))
            spans[r.topic, r.partition] = (first, r.offset + 1)
        parts = {
            (topic, partition): self._part(
                PartitionDeltas(self._topic_id(topic), partition, first, following, {}),
                texts.get((topic, partition), []),
            )
            for (topic, partition), (first, following) in spans.items()
        }
        while parts:
            answer = self._store.apply(list(parts.values()))
            self._remember(answer.snapshots)
            parts = {
                key: self._part(
                    replace(part, first_offset=outcome.counted_upto), texts.get(key, [])
                )
                for (key, part), outcome in zip(parts.items(), answer.outcomes, strict=True)
                if outcome.status is Status.OVERLAP
            }

    def _part(self, part: PartitionDeltas, texts: Sequence[Prediction]) -> PartitionDeltas:
        """Return the part with what its texts, from its first offset on, add to their domains."""
        labels: dict[str, list[tuple[int, ...]]] = {}
        for text in texts:
            if text.event.record.offset >= part.first_offset:
                labels.setdefault(text.event.domain, []).append(text.exit_labels)
        return replace(
            part,
            deltas={
                domain: ExitStats.from_texts(rows, exits=self._exits)
                for domain, rows in labels.items()
            },
        )

    def _remember(self, snapshots: Mapping[str, DomainSnapshot]) -> None:
        now = time.monotonic()
        with self._lock:
            for domain, snapshot in snapshots.items():
                self._snapshots[domain] = (snapshot, now)
                self._snapshots.move_to_end(domain)
            while len(self._snapshots) > _KEPT:
                self._snapshots.popitem(last=False)
