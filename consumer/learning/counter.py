"""What a batch adds to the shared counters, and what the worker last knew of them."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import OrderedDict
from dataclasses import replace
from functools import partial
from itertools import chain, repeat
from typing import TYPE_CHECKING

from consumer.learning.at_hand import NOTHING, at_hand
from policy_state.algorithms.base import build
from policy_state.algorithms.drift import DriftWatch
from policy_state.errors import (
    DomainNotFound,
    PolicyNotFound,
    StoreError,
    StoreRefused,
    StoreUnavailable,
)
from policy_state.store.admin import Reset
from policy_state.store.offsets import Status, within
from policy_state.store.pending import Pending

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from consumer.events.record import Prediction, Record
    from consumer.learning.at_hand import AtHand, Partition
    from policy_state.stats import ExitStats
    from policy_state.store.admin import PolicyAdmin
    from policy_state.store.offsets import Range
    from policy_state.store.port import (
        Applied,
        DomainSnapshot,
        OpenedPolicy,
        PartitionDeltas,
        PolicyMeta,
    )

log = logging.getLogger("offramp.counting")

_FRESH_S = 5.0
_KEPT = 10_000
_CREATED_MOST = 3  # a policy, in one call: then the store is as good as away
_PAUSE_S = (0.5, 1.0, 2.0, 5.0)


def _may_pass(error: StoreError) -> bool:
    """Say whether to go on as without a store.

    So also where a right or a password that a worker had at its start is taken away: somebody can
    give it back, and predictions need neither. And where the store is emptied again and again.
    """
    passing = isinstance(error, StoreUnavailable | PolicyNotFound)
    return passing or error.cause in {"login", "permission"}


class Counting:
    """Counts texts once each, and keeps the snapshots that come back.

    While the store is away, what was learnt is held, summed up, and brought when it is back;
    exits are chosen from what was known last. `current` may be called in one thread while `count`
    runs in another.
    """

    def __init__(
        self,
        store: PolicyAdmin,
        opened: OpenedPolicy,
        *,
        topic_id: Callable[[str], str] = str,
        on_settings: Callable[[Applied], None] = lambda _: None,
        name: str = "worker",
    ) -> None:
        """Start with nothing known.

        Args:
            store: with the policy open.
            opened: that policy.
            topic_id: the id of a topic by its name, for records that do not tell it.
            on_settings: called with an answer whose settings are of a new revision.
            name: who starts drifted domains afresh, for the audit.
        """
        self._store = store
        self._name = name
        self._watch = self._drift_watch(opened.meta)
        self._meta = opened.meta
        self._revision = opened.revision
        self._topic_id = topic_id
        self._on_settings = on_settings
        self._lock = threading.Lock()
        self._snapshots: OrderedDict[str, tuple[DomainSnapshot, float]] = OrderedDict()
        self._pending = Pending()
        self._counted: dict[str, Range] = {}  # the batch counted last, by watermark name
        self.gap_offsets = 0
        """Offsets left out below what was counted; `doctor` tells which are still open."""
        self._closed = threading.Event()
        self._away = False
        self._failures = 0  # in a row
        self._away_since = 0.0
        self._answered = time.monotonic()

    def __str__(self) -> str:
        """Say what a log tells of it."""
        return f"held_texts={self.held_texts} snapshot_age_s={self.age_s:.1f}"

    @property
    def held_texts(self) -> int:
        """How many texts are predicted and not yet in the store."""
        return self._pending.texts

    @property
    def lost_texts(self) -> int:
        """How many texts could not be counted."""
        return self._pending.lost_texts

    @property
    def age_s(self) -> float:
        """How long ago the store last answered."""
        return time.monotonic() - self._answered

    @property
    def away(self) -> bool:
        """Whether the store does not answer; nobody waits for it then."""
        return self._away

    def current(self, domains: set[str]) -> Mapping[str, DomainSnapshot]:
        """Return what is known of domains: read anew where it is old and the store answers."""
        now = time.monotonic()
        with self._lock:
            known = {d: self._snapshots[d] for d in domains if d in self._snapshots}
        found = {domain: snapshot for domain, (snapshot, _) in known.items()}
        old = {d for d in domains if d not in known or known[d][1] < now - _FRESH_S}
        if old and not self._away:
            answer = self._ask(lambda: self._store.apply((), also_read=old))
            if answer is not None:
                found |= answer.snapshots
        return found

    def count(
        self,
        records: Sequence[Record],
        predictions: Sequence[Prediction],
        epochs: Mapping[str, int],
        *,
        begins: Mapping[Partition, int] | None = None,
    ) -> None:
        """Add a batch to the shared counters; what was counted before is left out.

        Args:
            records: all records of the batch, in order per partition.
            predictions: those that became texts.
            epochs: of the snapshots that the exits were chosen with, by domain.
            begins: see `at_hand`.

        Raises:
            StoreError: the store refuses for good; nothing was counted.
        """
        batch = at_hand(records, predictions, epochs, begins=begins or {}, topic_id=self._topic_id)
        self._counted = {f"{topic}/{part}": one.span for (topic, part), one in batch.items()}
        for key, one in batch.items():
            self._hold(key, [one.span], one)
        self.flush(batch)

    def committed(self) -> None:
        """Take note that the batch counted last is committed: what is held of it may be summed."""
        for source, span in self._counted.items():
            self._pending.committed(source, span)
        self._counted = {}

    def flush(
        self, batch: Mapping[Partition, AtHand] | None = None, *, insist: bool = False
    ) -> bool:
        """Bring what is held to the store, unless it is away; return whether all of it is there.

        Args:
            batch: by partition, to cut it where a part was counted before.
            insist: ask also where it is away, and wait as long as a call may take.
        """
        while (insist or not self._away) and (parts := self._pending.parts()):
            send = partial(self._store.apply, parts)
            answer = self._ask(send, writes=True)
            if answer is None:
                return False
            self._note_gaps(parts, answer)
            self._look_for_drift(parts, answer)
            for part, outcome in self._pending.settled(answer.outcomes):
                key = (part.topic_id, part.partition)
                one = (batch or {}).get(key, NOTHING)
                # What a part has of earlier batches cannot be told apart: it stays out, as a gap
                # that is counted from the predictions.
                self._hold(key, within(outcome.missing, one.span), one)
                self._pending.give_up(part, but=len(one.of((part.first_offset, part.next_offset))))
        return not len(self._pending)

    def close(self) -> None:
        """Stop asking a store that is away; to be called before the store is closed."""
        self._closed.set()

    def keep_up(self) -> None:
        """Ask the store where it was not asked for a while: one that was emptied gets its policy.

        So what it has lost comes back though no text does.
        """
        if not self._away and self.age_s > _FRESH_S:
            self._ask(lambda: self._store.apply(()))

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
        learnt: dict[str, ExitStats] = {}
        for part, outcome in zip(parts, answer.outcomes, strict=True):
            if outcome.status is Status.APPLIED:
                for domain, delta in part.deltas.items():
                    learnt[domain] = learnt[domain] + delta if domain in learnt else delta
        for domain, delta in learnt.items():
            now = answer.snapshots[domain]
            if domain in answer.refused:
                continue
            alarm = self._watch.add(domain, delta, known=now.stats, epoch=now.epoch)
            if alarm is None:
                continue
            log.warning("drift domain=%r %s", domain, alarm.reason)
            change = Reset(keep=0, epoch=now.epoch)
            with contextlib.suppress(
                DomainNotFound, PolicyNotFound, StoreUnavailable
            ):  # seen again later
                self._store.change(
                    domain, change, by=self._name, reason=alarm.reason, automatic=True
                )

    @staticmethod
    def _drift_watch(meta: PolicyMeta) -> DriftWatch:
        return DriftWatch(meta.exits, evidence=build(meta.settings, meta.layers).drift)

    def _hold(self, key: Partition, ranges: Iterable[Range], batch: AtHand) -> None:
        """Put the texts of some offsets of a partition on their way."""
        for span in ranges:
            outcome = self._pending.add(batch.part(key, span, exits=self._meta.exits))
            if outcome.status is Status.OVERLAP:
                self._hold(key, outcome.missing, batch)

    def _ask(self, send: Callable[[], Applied], *, writes: bool = False) -> Applied | None:
        """Return the store's answer, or None where it is away: then not asked until it is back.

        A store that answers and takes no counts, being full or a replica, is not back yet.
        """
        try:
            answer = self._answer(send)
        except (StoreUnavailable, StoreRefused, PolicyNotFound) as error:
            if not _may_pass(error):
                raise
            log.warning("store is away, going on with what is known %s error=%s", self, error)
            with self._lock:
                known, self._away = self._away, True
                if not self._failures:
                    self._away_since = time.monotonic()
                self._failures += 1
            if not known:
                threading.Thread(target=self._await_store, name="await-store", daemon=True).start()
            return None
        if self._failures and (writes or not self._pending.texts):
            away_s = time.monotonic() - self._away_since
            log.info("store is back away_s=%.1f %s", away_s, self)
            self._failures = 0
        self._answered = time.monotonic()
        self._remember(answer)
        return answer

    def _answer(self, send: Callable[[], Applied]) -> Applied:
        """Return the store's answer; where the policy is gone it is created anew, some times.

        Raises:
            StoreError: what it answers, or that the policy was gone again each time.
        """
        for _ in range(_CREATED_MOST):
            with contextlib.suppress(PolicyNotFound):
                return send()
            log.error(
                "policy is gone from the store, created anew name=%s; what was learnt is counted "
                "from the predictions, as far as store.repair_records goes, else "
                "`offramp policy rebuild` brings it back",
                self._meta.name,
            )
            self._store.open(self._meta)
        return send()

    def _await_store(self) -> None:
        """Ask until the store answers or nobody counts: so predictions wait for no timeout."""
        for pause_s in chain(_PAUSE_S[self._failures - 1 :], repeat(_PAUSE_S[-1])):
            if self._closed.wait(pause_s):
                return
            try:
                self._store.apply(())
            except StoreUnavailable:
                log.warning("store is still away %s", self)
                continue
            except StoreError:  # an answer too; whoever asks next is told
                break
            break
        self._away = False

    def _remember(self, answer: Applied) -> None:
        if answer.revision != self._revision:
            self._revision = answer.revision
            self._meta = replace(self._meta, settings=answer.settings, limits=answer.limits)
            self._watch = self._drift_watch(self._meta)
            self._on_settings(answer)
        now = time.monotonic()
        with self._lock:
            for domain, snapshot in answer.snapshots.items():
                self._snapshots[domain] = (snapshot, now)
                self._snapshots.move_to_end(domain)
            while len(self._snapshots) > _KEPT:
                self._snapshots.popitem(last=False)
