"""KEDA and the autoscaler of Kubernetes, simulated second by second with the rules of the chart.

The triggers, their thresholds and the limits of each change are those of
`deploy/helm/offramp/templates/autoscaling.yaml` with its default values.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

Load = Callable[[int], float]  # events a second, by second
_SYNC_S = 15  # KEDA's pollingInterval, and the period of the autoscaler
_TOLERANCE = 0.1  # of the autoscaler
_SCRAPE_S = 15
_RATE_S = 120  # of `rate(offramp_records_total[2m])`
_PERIOD_S = 60  # of the limits of each change
_STEP_S, _BURST_S, _CALM_S = 3600, 300, 1500


@dataclass(frozen=True, slots=True)
class Rules:
    """What decides how many pods there are."""

    backlog_s: float | None = 30.0  # a pod, seconds of work that wait
    busy: float | None = 0.7  # share of the time
    lag: float | None = 10_000.0  # records a pod
    least: int = 1
    most: int = 60
    calm_s: int = 300


CHART = Rules()
RULES: Mapping[str, Rules] = {
    "the chart: backlog, busy and lag": CHART,
    "lag only": Rules(backlog_s=None, busy=None),
    "backlog only": Rules(busy=None, lag=None),
    "busy only": Rules(backlog_s=None, lag=None),
}


@dataclass(frozen=True, slots=True)
class Pods:
    """What a pod does, and how long it takes to begin."""

    texts_per_s: float
    start_s: int = 30  # from the decision to the first text: schedule, load, join
    pause_s: int = 3  # of all partitions when the group changes


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a load."""

    turns_per_hour: float  # up after down, or down after up: flaps
    worst_wait_s: float
    mean_wait_s: float
    pod_hours: float
    pod_hours_needed: float  # at the share of the time that `busy` asks for


def scaled(load: Load, rules: Rules, pods: Pods, *, seconds: int) -> Outcome:
    """Return what a load does to a fleet that begins with the pods that it needs."""
    needed = [
        max(rules.least, math.ceil(load(t) / (0.7 * pods.texts_per_s))) for t in range(seconds)
    ]
    running, starting = needed[0], deque[int]()  # seconds at which pods begin
    backlog, paused_until = 0.0, 0
    processed = deque([load(0)] * _RATE_S, maxlen=_RATE_S)
    seen_backlog, seen_rate = 0.0, load(0)
    wanted_before = deque[tuple[int, int]]()  # recommendations within the calm window
    counts, waits = [running], []
    for t in range(seconds):
        while starting and starting[0] <= t:
            starting.popleft()
            running, paused_until = running + 1, t + pods.pause_s
        can = 0.0 if t < paused_until else running * pods.texts_per_s
        done = min(backlog + load(t), can)
        backlog += load(t) - done
        processed.append(done)
        waits.append(backlog / (running * pods.texts_per_s))
        if t % _SCRAPE_S == 0:
            seen_backlog, seen_rate = backlog, sum(processed) / _RATE_S
        if t % _SYNC_S == 0:
            pods_now = running + len(starting)
            wanted = _wanted(seen_backlog, seen_rate, rules, pods, pods_now)
            wanted_before.append((t, wanted))
            while wanted_before[0][0] < t - rules.calm_s:
                wanted_before.popleft()
            most = max(each for _, each in wanted_before)
            before = counts[max(0, len(counts) - _PERIOD_S)]  # a period ago
            if wanted > pods_now:
                ends = min(wanted, max(2 * before, before + 2))
                starting.extend([t + pods.start_s] * max(0, ends - pods_now))
            elif most < pods_now and pods_now > before - 1:
                if starting:
                    starting.pop()
                else:
                    running, paused_until = running - 1, t + pods.pause_s
        counts.append(running + len(starting))
    changes = [after - one for one, after in pairwise(counts) if after != one]
    turns = sum(a * b < 0 for a, b in pairwise(changes))
    return Outcome(
        turns_per_hour=3600 * turns / seconds,
        worst_wait_s=float(max(waits)),
        mean_wait_s=float(np.mean(waits)),
        pod_hours=sum(counts) / 3600,
        pod_hours_needed=sum(needed) / 3600,
    )


def _wanted(backlog: float, rate: float, rules: Rules, pods: Pods, now: int) -> int:
    """Return the pods that the trigger that wants most asks for."""
    pairs = (
        (backlog / pods.texts_per_s, rules.backlog_s),
        (rate / pods.texts_per_s, rules.busy),
        (backlog, rules.lag),
    )
    asked = [_average_value(metric, per_pod, now) for metric, per_pod in pairs if per_pod]
    return max(rules.least, min(rules.most, max(asked)))


def _average_value(metric: float, per_pod: float, now: int) -> int:
    """Return what the autoscaler makes of a metric of type AverageValue."""
    if abs(metric / (per_pod * now) - 1) <= _TOLERANCE:
        return now
    return math.ceil(metric / per_pod)


def loads(capacity: float) -> dict[str, Load]:
    """Return kinds of load, for pods that do so many texts a second."""
    noise = np.random.default_rng(0).normal(0, 1, 100_000)
    slow = np.convolve(noise, np.ones(60) / 60, mode="same") * 60**0.5  # minutes, not seconds

    def steady(_: int) -> float:
        return 7 * capacity

    return {
        "steady": steady,
        "noisy": lambda t: capacity * 7 * max(0.1, 1 + 0.25 * float(slow[t % len(slow)])),
        "three times as much": lambda t: capacity * (4 if t < _STEP_S else 12),
        "a day": lambda t: capacity * (7 + 6 * math.sin(2 * math.pi * t / 86_400)),
        "bursts": lambda t: capacity * (3 if t % (_CALM_S + _BURST_S) < _CALM_S else 12),
    }
