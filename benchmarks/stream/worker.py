"""A worker inside this process, with clocks at its stages and marks at its commits."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from typing import TypeVar

from consumer.decision import ALONE, Decision, Peers
from consumer.events.outgoing import Outgoing
from consumer.events.record import BatchOutcome, DeadLetter, Event, Prediction, Record
from consumer.kafka.reading.batch import Batch
from consumer.kafka.stream import KafkaStream
from consumer.offramp import Offramp
from consumer.opening import Inference
from consumer.predictor import Tokens
from consumer.processor import Processor
from consumer.routes.route import subscription
from consumer.settings.load import Settings, load_settings
from consumer.settings.sections import BatchSettings
from consumer.worker.reporting import Observer
from consumer.worker.run import loaded_code_spared
from consumer.worker.worker import Worker
from deploy.local.services import Services
from policy_state.store.admin import Pin
from policy_state.store.groups import PositionStore
from policy_state.store.values import DomainSnapshot

T = TypeVar("T")
U = TypeVar("U")
OUTPUT = "bench.out"
DEAD_LETTERS = "bench.dead"
MODEL = ("tokenise", "infer")
STAGES = ("poll", "parse + route", *MODEL, "decide", "encode", "produce + commit", "store")
READING, WRITING = "kafka-python, reading", "kafka-python, writing"  # its own threads
OTHER = "other"
_LEAST = 2  # commits: the first one only starts the clocks


@dataclass(frozen=True, slots=True)
class Mark:
    """A commit: when, of how many records, and the CPU seconds until then."""

    at_s: float
    records: int
    process_s: float
    stages_s: Mapping[str, float]


class Marks:
    """The commits of a run; the first one starts its clocks."""

    def __init__(self) -> None:
        self.stages: defaultdict[str, float] = defaultdict(float)
        self._rows: list[Mark] = []
        self.done = 0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the CPU seconds of this thread for a stage."""
        begun = time.thread_time()
        try:
            yield
        finally:
            self.spent(name, time.thread_time() - begun)

    def timed(self, name: str, call: Callable[[T], U]) -> Callable[[T], U]:
        """Return the call, counted for a stage."""

        def run(argument: T) -> U:
            with self.stage(name):
                return call(argument)

        return run

    def spent(self, name: str, seconds: float) -> None:
        """Count CPU seconds for a stage."""
        self.stages[name] += seconds

    def add(self, records: int) -> None:
        """Note a commit."""
        self.done += records
        now, cpu = time.perf_counter(), time.process_time()
        self._rows.append(Mark(now, records, cpu, {**self.stages, **_client_threads_s()}))

    @property
    def commits(self) -> int:
        """How many commits there were since the clocks run."""
        return len(self._rows)

    def enough(self, *, seconds: float, records: int) -> bool:
        """Say whether the clocks ran for so long, over three commits, or all records are done."""
        if self.done >= records:
            return True
        return self.commits > _LEAST and time.perf_counter() - self._rows[0].at_s >= seconds

    def rate(self) -> float:
        """Return the records a second, from the first commit to the last.

        Raises:
            ValueError: fewer than two commits.
        """
        if self.commits < _LEAST:
            raise ValueError(f"{self.commits} commits in the run, at least {_LEAST} are needed")
        seconds = self._rows[-1].at_s - self._rows[0].at_s
        return sum(mark.records for mark in self._rows[1:]) / seconds

    def all_cpu_us(self) -> float:
        """Return the CPU microseconds a record of the whole process."""
        spent_s = self._rows[-1].process_s - self._rows[0].process_s
        return 1e6 * spent_s / sum(mark.records for mark in self._rows[1:])

    def cpu_us(self) -> dict[str, float]:
        """Return the CPU microseconds a record by stage, and those of no stage as `OTHER`."""
        first, last = self._rows[0], self._rows[-1]
        records = sum(mark.records for mark in self._rows[1:])
        spent = {
            name: last.stages_s.get(name, 0.0) - first.stages_s.get(name, 0.0)
            for name in (*STAGES, READING, WRITING)
        }
        spent[OTHER] = last.process_s - first.process_s - sum(spent.values())
        return {name: 1e6 * seconds / records for name, seconds in spent.items()}


def _client_threads_s() -> dict[str, float]:
    """Return the CPU seconds that the threads of kafka-python's clients have taken."""
    spent = {READING: 0.0, WRITING: 0.0}
    for thread in threading.enumerate():
        name = WRITING if thread.name.endswith("-network-thread") else READING
        if name == WRITING or thread.name.startswith("kafka-io-"):
            clock = time.pthread_getcpuclockid(thread.ident or 0)
            spent[name] += time.clock_gettime(clock)
    return spent


class TimedStream(KafkaStream):
    """Times polling and committing, and notes what was committed."""

    def __init__(self, settings: Settings, store: PositionStore, marks: Marks) -> None:
        super().__init__(
            settings.kafka,
            instance=settings.instance,
            topics=subscription(settings.routes or ()),
            store=store,
        )
        self._marks = marks
        self._left_s = 0.0

    def collect(self, limits: BatchSettings) -> Batch | None:
        """Collect, timed."""
        begun_s, before_s = time.thread_time(), self._marks.stages["poll"]
        found = super().collect(limits)
        reading_s = self._marks.stages["poll"] - before_s  # counted by `keep_up`
        self._marks.spent("poll", time.thread_time() - begun_s - reading_s)
        return found

    def keep_up(self, timeout_ms: int) -> None:
        """Read ahead, timed."""
        with self._marks.stage("poll"):
            super().keep_up(timeout_ms)

    def commit(
        self, batch: Batch, outgoing: Sequence[Outgoing], *, before_commit: Callable[[], None]
    ) -> None:
        """Commit, timed; what this thread did since the last commit was encoding."""
        counting_s = 0.0

        def count() -> None:
            nonlocal counting_s
            counting_s -= time.thread_time()
            before_commit()
            counting_s += time.thread_time()

        begun_s = time.thread_time()
        super().commit(batch, outgoing, before_commit=count)
        ended_s = time.thread_time()
        self._marks.spent("encode", begun_s - self._left_s)
        self._marks.spent("store", counting_s)
        self._marks.spent("produce + commit", ended_s - begun_s - counting_s)
        self._left_s = ended_s
        self._marks.add(len(batch.records))


@dataclass(frozen=True)
class TimedProcessor(Processor):
    """Times its parts, and keeps what it answered."""

    marks: Marks = field(default_factory=Marks)
    answers: list[Prediction] | None = None  # None: not kept

    def read(self, records: Sequence[Record]) -> tuple[list[Event], list[DeadLetter]]:
        """Parse and route, timed."""
        with self.marks.stage("parse + route"):
            return super().read(records)

    def decide(
        self,
        events: Sequence[Event],
        snapshots: Mapping[str, DomainSnapshot],
        peers: Peers = ALONE,
    ) -> list[Decision]:
        """Decide, timed."""
        with self.marks.stage("decide"):
            return super().decide(events, snapshots, peers)

    def predict(
        self, events: Sequence[Event], decisions: Sequence[Decision], tokens: Tokens = None
    ) -> BatchOutcome:
        """Predict, timed."""
        with self.marks.stage("infer"):
            outcome = super().predict(events, decisions, tokens)
        if self.answers is not None and self.marks.commits:
            self.answers.extend(outcome.predictions)
        return outcome


@dataclass(frozen=True, slots=True)
class Job:
    """What a worker is to do."""

    topic: str
    output: str = OUTPUT
    batch: int = 256
    max_wait_ms: int = 50
    buffer_bytes: int = 16 << 20
    policy: str = "bench"
    group: str = ""  # a new one
    instance: str = "bench"
    pin: int | None = None  # the exit of all texts; None: as learnt
    domains: tuple[str, ...] = ()  # to be pinned
    keep: bool = False  # the answers


@dataclass(frozen=True, slots=True)
class Run:
    """What a worker did."""

    marks: Marks
    answers: Sequence[Prediction]


def run_worker(
    services: Services,
    engine: Inference,
    job: Job,
    *,
    until: Callable[[Marks], bool],
    observe: Callable[[KafkaStream, Offramp, Settings], Observer] = lambda *_: Observer(),
) -> Run:
    """Run a worker until `until` says so of its commits; `observe` returns who is told of it.

    Raises:
        RuntimeError: the worker ended by itself; the log says why.
    """
    marks, stop = Marks(), threading.Event()
    settings = _settings(services, job)
    answers: list[Prediction] | None = [] if job.keep else None
    with Offramp(settings, engine=engine) as offramp:
        if job.pin is not None:
            for domain in job.domains:
                offramp.store.change(domain, Pin(job.pin), by="bench", reason="bench")
        own = {f.name: getattr(offramp.processor, f.name) for f in fields(offramp.processor)}
        own["tokenise"] = marks.timed("tokenise", own["tokenise"])
        offramp.processor = TimedProcessor(**own, marks=marks, answers=answers)
        stream = TimedStream(settings, offramp.store, marks)
        observer = observe(stream, offramp, settings)
        worker = Worker(stream, offramp, settings, observer=observer)
        thread = threading.Thread(target=worker.run, args=(stop,), name="worker")
        with loaded_code_spared():
            thread.start()
            try:
                while thread.is_alive() and not until(marks):
                    time.sleep(0.02)
                alive = thread.is_alive()
            finally:
                stop.set()
                thread.join()
                stream.close()
    if not alive:
        raise RuntimeError(f"the worker ended after {marks.done} records")
    return Run(marks, answers or ())


def _settings(services: Services, job: Job) -> Settings:
    return load_settings(
        options={
            "kafka.bootstrap_servers": services.kafka,
            "kafka.group": job.group or f"worker-{time.time_ns()}",
            "kafka.dead_letters": DEAD_LETTERS,
            "kafka.buffer_bytes": job.buffer_bytes,
            "redis.url": services.redis,
            "policy.name": job.policy,
            "batch.max_events": job.batch,
            "batch.max_tokens": 1 << 20,
            "batch.max_wait_ms": job.max_wait_ms,
            "routes": [{"topics": job.topic, "domain": "field:domain", "output": job.output}],
            "instance": job.instance,
        }
    )
