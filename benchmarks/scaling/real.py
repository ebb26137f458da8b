"""Real workers in processes of their own, whose model waits as for a device that is not here.

So several workers fit on two cores: what they do is real Kafka, real Redis and all of a worker's
Python, and only the time of the model is made up.
"""

from __future__ import annotations

import logging
import multiprocessing
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import redis

from benchmarks.free_model import FreeModel, FreeResult
from benchmarks.scaling.redis_load import commands_sent, usage
from benchmarks.stream.worker import Job, run_worker
from consumer.worker.reporting import Observer

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.synchronize import Barrier
    from multiprocessing.synchronize import Event as Flag

    from consumer.events.record import BatchOutcome
    from consumer.kafka.reading.batch import Batch
    from consumer.laps import Lap
    from consumer.learning.snapshots import Snapshots
    from deploy.local.services import Services

_JOIN_S, _END_S, _SETTLE_S = 120.0, 60.0, 2.0


@dataclass(frozen=True, slots=True)
class Device:
    """How long a made-up device takes for a batch, and for each of its texts."""

    batch_s: float
    text_s: float


@dataclass(frozen=True, slots=True)
class Commit:
    """A committed batch."""

    at_s: float  # by the clock that all processes share
    texts: int
    commit_s: float  # all of it
    apply_s: float  # of that, waiting for Redis


@dataclass(frozen=True, slots=True)
class Window:
    """What workers did together over some seconds."""

    seconds: float
    commits: tuple[Commit, ...]
    compute_s: float  # of a batch, mean
    age_s: float  # of the counters that exits were chosen with, mean
    redis_cpu_s: float
    redis_bytes: float

    @property
    def texts_per_s(self) -> float:
        """Committed texts a second."""
        return sum(each.texts for each in self.commits) / self.seconds

    @property
    def batch(self) -> float:
        """Texts of a batch, mean."""
        return sum(each.texts for each in self.commits) / len(self.commits)

    def mean(self, name: str) -> float:
        """Return the mean of a figure over the commits."""
        return float(np.mean([getattr(each, name) for each in self.commits]))


class WaitingModel(FreeModel):
    """Waits as long as a device would compute, and notes how old the counters are by then."""

    def __init__(self, device: Device) -> None:
        """Wait for this device."""
        self._device = device
        self.known: Snapshots | None = None
        self.spent: list[tuple[float, float]] = []  # seconds of a batch, age of the counters

    def run_tokens(self, texts: Sequence[str], exits: Sequence[int]) -> list[FreeResult]:
        """Classify texts, not sooner than the device would."""
        begun = time.monotonic()
        age = self.known.age_s if self.known else 0.0
        results = super().run_tokens(texts, exits)
        left = self._device.batch_s + len(texts) * self._device.text_s - (time.monotonic() - begun)
        time.sleep(max(0.0, left))
        self.spent.append((time.monotonic() - begun, age))
        return results


class _Noting(Observer):
    def __init__(self) -> None:
        super().__init__()
        self.commits: list[Commit] = []

    def committed(
        self,
        batch: Batch,  # noqa: ARG002
        outcome: BatchOutcome,
        laps: Mapping[str, Lap],
        *,
        truncated: int,  # noqa: ARG002
    ) -> None:
        seconds = sum(lap.ended - lap.begun for lap in laps.values())
        apply, texts = laps["apply"], len(outcome.predictions)
        self.commits.append(Commit(time.monotonic(), texts, seconds, apply.ended - apply.begun))


def measured(
    services: Services, job: Job, device: Device, workers: int, *, seconds: float
) -> Window:
    """Run workers of one group, and return what they did once all of them were at work."""
    with running(services, job, device, workers, at_work=True) as ends:
        time.sleep(_SETTLE_S)
        with redis.Redis.from_url(services.redis) as raw:
            begun, before = time.monotonic(), usage(raw)
            time.sleep(seconds)
            ended, spent = time.monotonic(), usage(raw) - before
        found = ends()
    commits = tuple(c for one, _ in found for c in one if begun <= c.at_s < ended)
    computed = np.array([row for _, rows in found for row in rows])
    return Window(
        ended - begun,
        commits,
        float(computed[:, 0].mean()),
        float(computed[:, 1].mean()),
        float(spent[0]),
        float(spent[1] + spent[2]),
    )


def idle_commands(services: Services, job: Job, workers: int, *, seconds: float) -> float:
    """Return the commands a second that workers without texts send to Redis."""
    with running(services, job, Device(0, 0), workers, at_work=False):
        time.sleep(_SETTLE_S)
        with commands_sent(services.redis) as heard:
            time.sleep(seconds)
        return len(heard) / seconds


@contextmanager
def running(
    services: Services, job: Job, device: Device, workers: int, *, at_work: bool
) -> Iterator[Any]:
    """Run workers of one group; yield what ends them and returns what each one noted.

    Raises:
        RuntimeError: they did not all begin within two minutes.
    """
    context = multiprocessing.get_context("spawn")
    stop, together = context.Event(), context.Barrier(workers)
    pipes, processes = [], []
    for number in range(workers):
        mine, theirs = context.Pipe()
        own = Job(**{**_fields(job), "instance": f"{job.group}-{number}"})
        arguments = (services, own, device, at_work, together, stop, theirs)
        processes.append(context.Process(target=_work, args=arguments, daemon=True))
        pipes.append(mine)
        processes[-1].start()

    def ends() -> list[Any]:
        stop.set()
        return [_received(pipe, process) for pipe, process in zip(pipes, processes, strict=True)]

    try:
        for pipe, process in zip(pipes, processes, strict=True):
            _received(pipe, process)  # it is at work
        yield ends
    finally:
        stop.set()
        for process in processes:
            process.join(_END_S)
            if process.is_alive():
                process.kill()


def _received(pipe: Connection, process: Any) -> Any:  # noqa: ANN401  (a process of any context)
    if not pipe.poll(_JOIN_S):
        raise RuntimeError(f"worker {process.pid} said nothing for {_JOIN_S:g} s")
    return pipe.recv()


def _fields(job: Job) -> dict[str, Any]:
    return {name: getattr(job, name) for name in Job.__dataclass_fields__}


def _work(  # noqa: PLR0913, PLR0917  (the arguments of a process)
    services: Services,
    job: Job,
    device: Device,
    at_work: bool,  # noqa: FBT001
    together: Barrier,
    stop: Flag,
    answer: Connection,
) -> None:
    logging.disable(logging.WARNING)  # a group that forms gives batches back
    model, noting, told = WaitingModel(device), _Noting(), threading.Event()

    def observe(_: Any, offramp: Any, __: Any) -> Observer:  # noqa: ANN401
        model.known = offramp.counting.known
        return noting

    def until(_: object) -> bool:
        if not told.is_set() and (noting.commits or not at_work):
            told.set()
            answer.send("at work")
        return stop.is_set()

    together.wait(_JOIN_S)  # else the first ones work off what is there before the last one begins
    run_worker(services, model, job, until=until, observe=observe)
    answer.send((noting.commits, model.spent))
