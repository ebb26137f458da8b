"""Workers that share one Redis, simulated batch by batch; what no machine here is large enough for.

A worker collects a batch, prepares it, computes it and commits it, with at most three batches under
way. In the middle of a commit it waits for its turn at Redis, which serves one batch at a time.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

from consumer.sizing.redis_load import idle_busy

if TYPE_CHECKING:
    from collections.abc import Iterator

_OPEN = 3  # batches under way, as in `Pipeline`
_WARM = 0.2  # of the time, before anything is counted


@dataclass(frozen=True, slots=True)
class Pace:
    """How long the steps of one worker take: seconds of a batch, and of each text in it."""

    compute_s: tuple[float, float]
    prepare_s: tuple[float, float]
    commit_s: float  # without Redis
    apply_s: float  # Redis's own time for the batch
    max_events: int = 256
    max_wait_s: float = 0.05

    def computing(self, texts: float) -> float:
        """Return how long a batch computes."""
        return self.compute_s[0] + texts * self.compute_s[1]

    def preparing(self, texts: float) -> float:
        """Return how long a batch is prepared."""
        return self.prepare_s[0] + texts * self.prepare_s[1]


@dataclass(frozen=True, slots=True)
class Run:
    """What the fleet did, once it had warmed up."""

    texts_per_s: float
    batch: float
    redis_busy: float  # share of one core, idle commands of the workers included
    latency_p50_s: float
    latency_p99_s: float
    age_s: float  # of the counters that an exit is chosen with, mean
    age_p99_s: float
    unseen: float  # texts of all workers that were decided on and are not in those counters


class _Step(IntEnum):
    COLLECTED = 0
    DECIDED = 1
    COMPUTED = 2
    AT_REDIS = 3
    APPLIED = 4
    COMMITTED = 5


@dataclass(slots=True)
class _Batch:
    texts: int
    first_s: float  # when its first and its last text arrived
    last_s: float


@dataclass(slots=True)
class _Worker:
    phase_s: float
    taken: int = 0
    under_way: int = 0
    collecting: bool = False
    prepare_free: float = 0.0
    compute_free: float = 0.0
    committing: bool = False
    computed: deque[_Batch] = field(default_factory=deque)
    told_s: float = 0.0  # when Redis last answered
    told_counted: int = 0  # texts of all workers that were counted then


def simulate(
    pace: Pace, workers: int, *, seconds: float, events_per_s: float = math.inf, seed: int = 0
) -> Run:
    """Return what workers do with events that arrive evenly, or with a backlog without an end."""
    return _Fleet(pace, workers, events_per_s / workers, seed).run(seconds)


class _Fleet:
    def __init__(self, pace: Pace, workers: int, rate: float, seed: int) -> None:
        self._pace, self._rate = pace, rate
        rng = random.Random(seed)
        gap = 0.0 if math.isinf(rate) else 1 / rate
        phases = (rng.random() * max(pace.max_wait_s, gap) for _ in range(workers))
        self._workers = [_Worker(phase) for phase in phases]
        self._events: list[tuple[float, int, int, _Step, _Batch]] = []
        self._number = 0
        self._redis_free = 0.0
        self._redis_busy = 0.0
        self._idle = min(idle_busy(workers), 0.95)
        self._apply_s = pace.apply_s / (1 - self._idle)
        self._decided = self._counted = 0
        self._ages: list[tuple[float, int]] = []
        self._done: list[tuple[float, int, float, float]] = []  # when, texts, newest and oldest

    def run(self, seconds: float) -> Run:
        for worker in range(len(self._workers)):
            self._collect(worker, self._workers[worker].phase_s)
        warm_s = _WARM * seconds
        busy_before = 0.0
        while self._events:
            now, _, worker, step, batch = heapq.heappop(self._events)
            if now > seconds:
                break
            if now < warm_s:
                busy_before = self._redis_busy
                self._ages.clear()
            self._take(worker, step, batch, now)
        done = [row for row in self._done if row[0] >= warm_s]
        texts = sum(row[1] for row in done)
        latencies, ages = list(_spread(done)), np.array(self._ages or [(math.nan, 0)])
        span_s = seconds - warm_s
        busy = (self._redis_busy - busy_before) / span_s
        return Run(
            texts_per_s=texts / span_s,
            batch=texts / max(1, len(done)),
            redis_busy=min(1.0, busy * (1 - self._idle) + self._idle),
            latency_p50_s=float(np.quantile(latencies, 0.5)) if latencies else math.nan,
            latency_p99_s=float(np.quantile(latencies, 0.99)) if latencies else math.nan,
            age_s=float(ages[:, 0].mean()),
            age_p99_s=float(np.quantile(ages[:, 0], 0.99)),
            unseen=float(ages[:, 1].mean()),
        )

    def _take(self, number: int, step: _Step, batch: _Batch, now: float) -> None:
        pace, worker = self._pace, self._workers[number]
        if step is _Step.COLLECTED:
            worker.collecting = False
            ready = max(now, worker.prepare_free) + pace.preparing(batch.texts)
            worker.prepare_free = ready
            begins = max(ready, worker.compute_free)
            worker.compute_free = begins + pace.computing(batch.texts)
            self._push(begins, number, _Step.DECIDED, batch)
            self._push(worker.compute_free, number, _Step.COMPUTED, batch)
            self._collect(number, now)
        elif step is _Step.DECIDED:
            self._ages.append((now - worker.told_s, self._decided - worker.told_counted))
            self._decided += batch.texts
        elif step is _Step.COMPUTED:
            worker.computed.append(batch)
            self._commit(number, now)
        elif step is _Step.AT_REDIS:
            begins = max(now, self._redis_free)
            self._redis_free = begins + self._apply_s
            self._redis_busy += self._apply_s
            self._push(self._redis_free, number, _Step.APPLIED, batch)
        elif step is _Step.APPLIED:
            self._counted += batch.texts
            worker.told_s, worker.told_counted = now, self._counted
            self._push(now + pace.commit_s / 2, number, _Step.COMMITTED, batch)
        else:
            worker.committing = False
            worker.under_way -= 1
            self._done.append((now, batch.texts, now - batch.last_s, now - batch.first_s))
            self._commit(number, now)
            self._collect(number, now)

    def _commit(self, number: int, now: float) -> None:
        worker = self._workers[number]
        if worker.computed and not worker.committing:
            worker.committing = True
            self._push(
                now + self._pace.commit_s / 2, number, _Step.AT_REDIS, worker.computed.popleft()
            )

    def _collect(self, number: int, now: float) -> None:
        """Begin to collect a batch if there is room for one."""
        pace, worker = self._pace, self._workers[number]
        if worker.collecting or worker.under_way >= _OPEN:
            return
        worker.collecting = True
        worker.under_way += 1
        most, rate = pace.max_events, self._rate
        if math.isinf(rate):
            worker.taken += most
            self._push(now, number, _Step.COLLECTED, _Batch(most, now, now))
            return
        first_s = worker.phase_s + worker.taken / rate
        full_s = worker.phase_s + (worker.taken + most - 1) / rate
        ends = max(now, min(full_s, max(now, first_s) + pace.max_wait_s))
        texts = max(1, min(most, math.floor((ends - worker.phase_s) * rate) + 1 - worker.taken))
        worker.taken += texts
        last_s = worker.phase_s + (worker.taken - 1) / rate
        self._push(ends, number, _Step.COLLECTED, _Batch(texts, first_s, last_s))

    def _push(self, at_s: float, worker: int, step: _Step, batch: _Batch) -> None:
        self._number += 1
        heapq.heappush(self._events, (at_s, self._number, worker, step, batch))


def _spread(done: list[tuple[float, int, float, float]]) -> Iterator[float]:
    """Yield latencies of some texts of each batch, evenly from its newest to its oldest."""
    for _, texts, newest, oldest in done:
        share = min(texts, 8)
        for i in range(share):
            yield newest + (oldest - newest) * (i + 0.5) / share
