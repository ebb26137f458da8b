"""What a batch adds to the shared counters: each text once, whatever comes again."""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from consumer.learning.snapshots import Snapshots
from policy_state.algorithms.base import build
from policy_state.algorithms.drift import DriftWatch
from policy_state.errors import DomainNotFound, PolicyNotFound, StoreUnavailable
from policy_state.predicted import counts_of
from policy_state.store.admin import Reset
from policy_state.store.offsets import Status, within
from policy_state.store.pending import Pending
from policy_state.store.values import PartitionDeltas

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from consumer.events.record import Prediction, Record
    from policy_state.stats import ExitStats
    from policy_state.store.admin import PolicyAdmin
    from policy_state.store.offsets import Range
    from policy_state.store.values import Applied, OpenedPolicy

log = logging.getLogger("offramp.counting")

Partition = tuple[str, int]  # topic id, number


class Counting:
    """Counts texts once each.

    While the store is away, what was learnt is held, summed up, and brought when it is back.
    """

    def __init__(self, store: PolicyAdmin, opened: OpenedPolicy, *, by: str) -> None:
        """Start with nothing counted.

        Args:
            store: with the policy open.
            opened: that policy.
            by: who starts drifted domains afresh, for the audit.
        """
        self._store = store
        self._by = by
        self.pending = Pending()
        """What is predicted and not yet in the store."""
        self.known = Snapshots(store, opened, self.pending)
        """What the store last told."""
        self._drift = _drift_watch(opened)
        self._drift_by = opened  # whose settings it goes by
        self._counted: dict[str, Range] = {}  # the batch counted last, by watermark name
        self.statuses = Counter[str]()
        """How often the store answered what of a part; `unreachable`: not at all."""
        self.gap_offsets = 0
        """Offsets left out below what was counted; `doctor` tells which are still open."""

    def count(
        self,
        records: Sequence[Record],
        predictions: Sequence[Prediction],
        epochs: Mapping[str, int],
        *,
        begins: Mapping[Partition, int] | None = None,
        ids: Mapping[str, str] | None = None,
    ) -> None:
        """Add a batch to the shared counters; what was counted before is left out.

        Args:
            records: all records of the batch, in order per partition.
            predictions: those that became texts.
            epochs: of the snapshots that the exits were chosen with, by domain.
            begins: by topic id and partition, the first offset that the batch covers; what lies
                between it and the first record is known to be no text. Default: that record's own.
            ids: the ids of topics, for records that do not tell it.

        Raises:
            StoreError: the store refuses for good; nothing was counted.
        """
        self._bring(_at_hand(records, predictions, epochs, begins=begins or {}, ids=ids or {}))

    def pass_over(self, spans: Mapping[Partition, Range]) -> None:
        """Enter offsets that are known to have no texts as counted, by topic id and partition.

        Raises:
            StoreError: the store refuses for good; nothing was entered.
        """
        self._bring({key: _AtHand(span, (), {}) for key, span in spans.items()})

    def _bring(self, batch: Mapping[Partition, _AtHand]) -> None:
        self._counted = {f"{topic}/{part}": one.span for (topic, part), one in batch.items()}
        for key, one in batch.items():
            self._hold(key, [one.span], one)
        self.flush(batch)

    def committed(self) -> None:
        """Take note that the batch counted last is committed: what is held of it may be summed."""
        for source, span in self._counted.items():
            self.pending.committed(source, span)
        self._counted = {}

    def flush(
        self, batch: Mapping[Partition, _AtHand] | None = None, *, insist: bool = False
    ) -> bool:
        """Bring what is held to the store, unless it is away; return whether all of it is there.

        Args:
            batch: by partition, to cut it where a part was counted before.
            insist: ask also where it is away, and wait as long as a call may take.
        """
        while (insist or not self.known.away) and (parts := self.pending.parts()):
            answer = self.known.ask(partial(self._store.apply, parts), writes=True)
            if answer is None:
                self.statuses["unreachable"] += 1
                return False
            self.statuses.update(str(outcome.status) for outcome in answer.outcomes)
            self._note_gaps(parts, answer)
            self._look_for_drift(parts, answer)
            for part, outcome in self.pending.settled(answer.outcomes):
                key = (part.topic_id, part.partition)
                one = (batch or {}).get(key, _NOTHING)
                # What a part has of earlier batches cannot be told apart: it stays out, as a gap
                # that is counted from the predictions.
                self._hold(key, within(outcome.missing, one.span), one)
                self.pending.give_up(part, but=len(one.of((part.first_offset, part.next_offset))))
        return not len(self.pending)

    def _note_gaps(self, parts: Sequence[PartitionDeltas], answer: Applied) -> None:
        """Enter the offsets that nobody counted before a part: markers, held elsewhere, or lost."""
        for part, outcome in zip(parts, answer.outcomes, strict=True):
            if outcome.gap:
                self.gap_offsets += outcome.gap
                log.info(
                    "gap source=%s before=%d offsets=%d",
                    part.source,
                    part.first_offset,
                    outcome.gap,
                )

    def _look_for_drift(self, parts: Sequence[PartitionDeltas], answer: Applied) -> None:
        """Start domains afresh whose latest texts are not what the counters before them say."""
        if self._drift_by is not self.known.policy:
            self._drift_by = self.known.policy
            self._drift = _drift_watch(self._drift_by)
        learnt: dict[str, ExitStats] = {}
        for part, outcome in zip(parts, answer.outcomes, strict=True):
            if outcome.status is Status.APPLIED:
                for domain, delta in part.deltas.items():
                    learnt[domain] = learnt[domain] + delta if domain in learnt else delta
        for domain, delta in learnt.items():
            now = answer.snapshots[domain]
            if domain in answer.refused:
                continue
            alarm = self._drift.add(domain, delta, known=now.stats, epoch=now.epoch)
            if alarm is None:
                continue
            log.warning("drift domain=%r %s", domain, alarm.reason)
            change = Reset(keep=0, epoch=now.epoch)
            with contextlib.suppress(
                DomainNotFound, PolicyNotFound, StoreUnavailable
            ):  # seen again later
                self._store.change(domain, change, by=self._by, reason=alarm.reason, automatic=True)

    def _hold(self, key: Partition, ranges: Iterable[Range], batch: _AtHand) -> None:
        """Put the texts of some offsets of a partition on their way."""
        for span in ranges:
            part = batch.part(key, span, exits=self.known.policy.meta.exits)
            outcome = self.pending.add(part)
            if outcome.status is Status.OVERLAP:
                self._hold(key, outcome.missing, batch)


def _drift_watch(opened: OpenedPolicy) -> DriftWatch:
    meta = opened.meta
    return DriftWatch(meta.exits, evidence=build(meta.settings, meta.layers).drift)


@dataclass(frozen=True, slots=True)
class _AtHand:
    """What a batch has of one partition: which offsets it covers, and the texts among them."""

    span: Range
    texts: Sequence[Prediction]
    epochs: Mapping[str, int]  # by domain, see `Counting.count`

    def of(self, span: Range) -> Sequence[Prediction]:
        """Return the texts of some offsets."""
        if span == self.span:
            return self.texts
        return [p for p in self.texts if span[0] <= p.event.record.offset < span[1]]

    def part(self, key: Partition, span: Range, *, exits: int) -> PartitionDeltas:
        """Return what the texts of some offsets of a partition, named by topic id, add."""
        texts: dict[str, list[Prediction]] = {}
        for text in self.of(span):
            texts.setdefault(text.event.domain, []).append(text)
        deltas = {d: counts_of(some, exits=exits) for d, some in texts.items()}
        epochs = {d: self.epochs[d] for d in deltas if d in self.epochs}
        return PartitionDeltas(*key, *span, deltas, epochs)


_NOTHING = _AtHand((0, 0), (), {})


def _at_hand(
    records: Sequence[Record],
    predictions: Sequence[Prediction],
    epochs: Mapping[str, int],
    *,
    begins: Mapping[Partition, int],
    ids: Mapping[str, str],
) -> dict[Partition, _AtHand]:
    """Return what a batch has, by topic id and partition; for the arguments see `count`."""
    texts: dict[Partition, list[Prediction]] = {}
    for prediction in predictions:
        r = prediction.event.record
        texts.setdefault((r.topic_id or ids[r.topic], r.partition), []).append(prediction)
    spans: dict[Partition, Range] = {}
    for r in records:
        key = (r.topic_id or ids[r.topic], r.partition)
        first, _ = spans.get(key, (min(r.offset, begins.get(key, r.offset)), 0))
        spans[key] = (first, r.next_offset)
    return {key: _AtHand(span, texts.get(key, ()), epochs) for key, span in spans.items()}
