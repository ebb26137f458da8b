"""How much hardware a stream needs: arithmetic over measured times, without input or output."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from consumer.errors import InvalidSettings
from consumer.sizing.redis_load import RedisLoad, redis_load

if TYPE_CHECKING:
    from collections.abc import Callable

    from consumer.sizing.measured import Measured, Times

PLUMBING_BATCH_S: Final = 5.8e-3
PLUMBING_TEXT_S: Final = 20e-6
"""CPU time of a worker besides tokenising and model, for a batch and for each of its texts.

`python -m benchmarks.stream.throughput --plumbing`: 43 microseconds a text in batches of 256, 26 in
batches of 1,000 (EPYC, Zen 5).
"""

COMMIT_S: Final = 15e-3
"""A commit with its transaction, one broker on the same machine: `python -m benchmarks.scale`."""

_PIPELINE_AHEAD: Final = 2  # batches that a worker may have begun before the one that is computed
_NEARLY: Final = 0.98


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a stream asks for."""

    events_per_s: float
    shares: tuple[float, ...]  # of texts that stop at each exit
    latency_s: float | None = None
    utilisation: float = 0.7  # share of what the machines can do that is used
    price_per_hour: float | None = None  # of one machine
    domains: int = 10
    max_events: int = 256
    max_wait_s: float = 0.05
    commit_s: float = COMMIT_S


@dataclass(frozen=True, slots=True)
class Plan:
    """The hardware for a stream."""

    machines: int
    processes: int  # on each machine
    partitions: int  # of the input topics together
    gpus: int
    texts_per_s: float  # that one machine can do
    limited_by: str  # what keeps it from doing more
    utilisation: float
    batch: float  # texts
    batches_per_s: float  # of all workers
    latency_s: float  # of 99 texts in 100
    redis: RedisLoad
    price_per_hour: float | None
    price_per_million: float | None

    @property
    def workers(self) -> int:
        """How many processes read the stream."""
        return self.machines * self.processes


def price_per_million(price_per_hour: float, texts_per_s: float) -> float:
    """Return the price of a million texts.

    >>> price_per_million(3.6, 1000)
    1.0
    """
    return price_per_hour / 3600 / texts_per_s * 1e6


def plan(measured: Measured, wanted: Wanted) -> Plan:
    """Return the fewest machines that keep up with a stream, and answer in time.

    Raises:
        InvalidSettings: no number of machines answers in time.
    """
    times = measured.mixed(wanted.shares)
    processes, rate, limited_by = _filled(measured, times, wanted)
    machines = max(1, math.ceil(wanted.events_per_s / (rate * wanted.utilisation)))

    def flow(count: int) -> _Flow:
        return _flow(measured, times, wanted, processes, wanted.events_per_s / count / processes)

    if wanted.latency_s is not None:
        machines = _fast_enough(machines, flow, wanted)
    found, workers = flow(machines), machines * processes
    batches_per_s = wanted.events_per_s / found.batch
    hourly = None if wanted.price_per_hour is None else machines * wanted.price_per_hour
    return Plan(
        machines=machines,
        processes=processes,
        partitions=2 * workers,
        gpus=machines if measured.device == "cuda" else 0,
        texts_per_s=rate,
        limited_by=limited_by,
        utilisation=wanted.events_per_s / (machines * rate),
        batch=found.batch,
        batches_per_s=batches_per_s,
        latency_s=found.latency_s,
        redis=redis_load(
            workers,
            batches_per_s=batches_per_s,
            batch=found.batch,
            domains=wanted.domains,
            exits=len(wanted.shares),
        ),
        price_per_hour=hourly,
        price_per_million=hourly and price_per_million(hourly, wanted.events_per_s),
    )


def _filled(measured: Measured, times: Times, wanted: Wanted) -> tuple[int, float, str]:
    """Return the processes that fill a machine, its texts a second, and what limits it."""
    found = [_rate(measured, times, wanted, n) for n in range(1, max(1, measured.cores) + 1)]
    most = max(rate for rate, _ in found)
    processes = next(n for n, (rate, _) in enumerate(found, start=1) if rate >= _NEARLY * most)
    return processes, *found[processes - 1]


def _rate(measured: Measured, times: Times, wanted: Wanted, processes: int) -> tuple[float, str]:
    """Return the texts a second of a machine in full batches, and what limits it."""
    texts = wanted.max_events
    plumbing_s = PLUMBING_TEXT_S + PLUMBING_BATCH_S / texts
    cpu_s = times.cpu_s + measured.tokenise_cpu_s + plumbing_s
    return min(
        (texts / times.of(texts), "the model"),
        (processes / (measured.tokenise_s + plumbing_s), "Python and tokenising"),
        (processes * texts / wanted.commit_s, "commits"),
        (measured.cores / cpu_s, "the cores"),
    )


@dataclass(frozen=True, slots=True)
class _Flow:
    """What one worker does at a load."""

    batch: float
    latency_s: float


def _flow(
    measured: Measured, times: Times, wanted: Wanted, processes: int, events_per_s: float
) -> _Flow:
    """Return how a worker's batches form, and how long 99 texts in 100 take."""
    # Fixed and proportional seconds of each step; processes take turns on the device.
    compute = (processes * times.batch_s, processes * times.text_s)
    prepare = (PLUMBING_BATCH_S, measured.tokenise_s + PLUMBING_TEXT_S)
    commit = (wanted.commit_s, 0.0)
    every_s = wanted.max_wait_s  # also where batches are full sooner: at night they are not
    for fixed_s, text_s in (compute, prepare, commit):
        if (free := 1 - events_per_s * text_s) > 0:  # else full batches, which `_rate` allows
            every_s = max(every_s, fixed_s / free)
    batch = min(float(wanted.max_events), max(1.0, events_per_s * every_s))
    steps = [fixed_s + batch * text_s for fixed_s, text_s in (compute, prepare, commit)]
    queue_s = max(_queue_s(step_s, events_per_s * step_s / batch) for step_s in steps)
    return _Flow(batch, every_s + queue_s + sum(steps))


def _queue_s(step_s: float, busy: float) -> float:
    """Return how long a batch waits for the batches before it at one step."""
    ahead = busy / (2 * (1 - busy)) if busy < 1 else math.inf
    return min(ahead, _PIPELINE_AHEAD) * step_s


def _fast_enough(least: int, flow: Callable[[int], _Flow], wanted: Wanted) -> int:
    """Return the fewest machines, from `least` on, with which texts are answered in time.

    Raises:
        InvalidSettings: there is no such number, as one text alone takes longer.
    """
    limit_s = wanted.latency_s or math.inf
    alone = max(least, math.ceil(wanted.events_per_s * max(1.0, wanted.max_wait_s)))
    if (best_s := flow(alone).latency_s) > limit_s:
        raise InvalidSettings(
            f"a latency of {1000 * limit_s:.0f} ms cannot be reached: even one text in a batch "
            f"takes {1000 * best_s:.0f} ms, of which it waits {1000 * wanted.max_wait_s:.0f} ms "
            f"for more texts and {1000 * wanted.commit_s:.0f} ms for the commit; set a smaller "
            "batch.max_wait_ms, stop texts at earlier exits, or measure a faster machine"
        )
    low, high = least, alone
    while low < high:
        middle = (low + high) // 2
        if flow(middle).latency_s <= limit_s:
            high = middle
        else:
            low = middle + 1
    return low
