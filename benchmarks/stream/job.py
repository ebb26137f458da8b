"""The whole job beside transformers' pipeline in a plain loop and in Quix Streams; latency."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.report import Goal, Report, Table
from benchmarks.stream.load import PARTITIONS, Load, cycled, fill, latencies_ms
from benchmarks.stream.rivals import PIPELINE_BATCH, Pipe, pipeline, plain_loop, quix_streams
from benchmarks.stream.size import Size
from benchmarks.stream.topics import create_topics
from benchmarks.stream.worker import Job, Marks, run_worker
from demo.texts import read_texts, sample_files
from deploy.local.services import Services
from model.engine.engine import Engine

PLAIN = "kafka-python loop, pipeline"
QUIX = "Quix Streams, pipeline"
LEARNT = "Offramp, exits as learnt"
FULL = "Offramp, last exit for all"
_GOAL = 20.0
_BATCH = 256
_FULL_BATCH = 64  # so that a run of seconds has several


@dataclass(frozen=True, slots=True)
class Said:
    """An answer: the label of a text, and the layer where it stopped."""

    text: str
    label: int
    layer: int


@dataclass(frozen=True, slots=True)
class Texts:
    """Real texts with their domains, what is true of them, and what the full depth says."""

    rows: tuple[tuple[str, str], ...]  # domain and text
    true: Mapping[str, int | None]
    full_depth: Mapping[str, int]

    @property
    def domains(self) -> tuple[str, ...]:
        """The domains there are."""
        return tuple(sorted({domain for domain, _ in self.rows}))


class Contest:
    """Does the job in each way, with one model."""

    def __init__(self, services: Services, folder: Path, size: Size, scratch: Path) -> None:
        """Load the model for both."""
        self._services = services
        self._size = size
        self._scratch = scratch
        self._pipe = pipeline(folder)
        self.engine = Engine(folder, precision="auto", device="cpu")
        self.texts = _texts(size.texts_a_domain, Engine(folder, device="cpu"))
        self.said: dict[str, list[Said]] = {}
        self.last: dict[str, Marks] = {}
        self.ways: dict[str, Callable[[str], float]] = {
            PLAIN: self._plain,
            QUIX: self._quix,
            LEARNT: lambda topic: self._offramp(LEARNT, topic, None),
            FULL: lambda topic: self._offramp(FULL, topic, self.engine.config.exits - 1),
        }
        if find_spec("quixstreams") is None:
            del self.ways[QUIX]

    def learn(self, topic: str) -> None:
        """Let Offramp learn its exits; the answers do not count."""
        self._offramp(LEARNT, topic, None, until=self._learnt)
        self.said.clear()

    def _classify(self, name: str) -> Pipe:
        """Return the pipeline, noting what it says."""
        layer, labels = self.engine.config.num_hidden_layers, self.engine.config.labels
        said = self.said.setdefault(name, [])

        def run(texts: Sequence[str]) -> list[dict[str, Any]]:
            answers = self._pipe(texts)
            said.extend(
                Said(text, labels.index(answer["label"]), layer)
                for text, answer in zip(texts, answers, strict=True)
            )
            return answers

        return run

    def _until(self, marks: Marks) -> bool:
        return marks.enough(seconds=self._size.job_seconds, records=self._size.job_events)

    def _learnt(self, marks: Marks) -> bool:
        return marks.enough(seconds=self._size.learn_seconds, records=self._size.job_events)

    def _plain(self, topic: str) -> float:
        return plain_loop(
            self._services.kafka, topic, self._classify(PLAIN), until=self._until
        ).rate()

    def _quix(self, topic: str) -> float:
        state = self._scratch / topic
        return quix_streams(
            self._services.kafka, topic, self._classify(QUIX), state, until=self._until
        ).rate()

    def _offramp(
        self,
        name: str,
        topic: str,
        pin: int | None,
        *,
        until: Callable[[Marks], bool] | None = None,
    ) -> float:
        policy = "learnt" if pin is None else "pinned"
        batch = _BATCH if pin is None else _FULL_BATCH
        job = Job(topic, policy=policy, pin=pin, domains=self.texts.domains, batch=batch, keep=True)
        run = run_worker(self._services, self.engine, job, until=until or self._until)
        self.said.setdefault(name, []).extend(
            Said(answer.event.text, answer.label, answer.layer) for answer in run.answers
        )
        self.last[name] = run.marks
        return run.marks.rate()


def whole_job(report: Report, services: Services, folder: Path, size: Size) -> Mapping[str, Marks]:
    """Compare events a second, then measure latency at half of what Offramp has reached.

    Returns:
        The last run of Offramp for each way to choose exits.
    """
    with TemporaryDirectory() as scratch:
        contest = Contest(services, folder, size, Path(scratch))
        rates: dict[str, list[float]] = {name: [] for name in contest.ways}
        for number in range(size.job_rounds + 1):
            topic = f"job.{number}"
            fill(services.kafka, topic, cycled(contest.texts.rows, size.job_events))
            if number == 0:
                contest.learn(topic)
                continue
            for name in _turned(list(contest.ways), number):
                rates[name].append(contest.ways[name](topic))
    if QUIX not in rates:
        report.notes.append(
            "Quix Streams is left out: quixstreams is not installed (`make bench` installs it)."
        )
    _add_job(report, folder.name, rates, contest)
    _add_latency(report, services, contest, size, rate=statistics.median(rates[LEARNT]) / 2)
    ends = {LEARNT: "exits as learnt", FULL: "last exit"}
    return {f"{folder.name}, {ends[name]}": marks for name, marks in contest.last.items()}


def _add_job(
    report: Report, model: str, rates: Mapping[str, list[float]], contest: Contest
) -> None:
    texts, engine = contest.texts, contest.engine
    rows = []
    for name, found in rates.items():
        ratio = _ratio(found, rates[PLAIN])
        said = contest.said[name]
        right = _percent(texts.true[one.text] == one.label for one in said)
        right_at_full_depth = _percent(
            texts.true[one.text] == texts.full_depth[one.text] for one in said
        )
        rows.append(
            (
                name,
                round(statistics.median(found)),
                f"{ratio:.2f} x",
                f"{statistics.fmean(one.layer for one in said):.2f}",
                _percent(texts.full_depth[one.text] == one.label for one in said),
                f"{right} ({right_at_full_depth})",
            )
        )
    columns = ("who", "events a second", "beside the loop", "mean depth (layers)")
    report.tables.append(
        Table(
            f"Whole job, {model}, {engine.config.num_hidden_layers} layers",
            (*columns, "labels as full depth in fp32, %", "labels right, %"),
            tuple(rows),
        )
    )
    goal = Goal.at_least(
        f"whole job over the plain pipeline loop, {model}, exits as learnt",
        _GOAL,
        _ratio(rates[LEARNT], rates[PLAIN]),
    )
    report.goals.append(goal)
    report.notes.append(
        f"Whole job: {len(texts.rows)} sample reviews of {len(texts.domains)} domains, over and "
        f"over; Offramp with its own defaults ({engine.precision}), after learning on a topic of "
        f"its own. The loop runs batches of {PIPELINE_BATCH}, Quix Streams text by text, as it "
        "processes, which is quicker on a CPU than padded batches; both fp32, at least once. All "
        "on one thread of torch, in turns; ratios within rounds, their median. In brackets what "
        "the full depth has right of the same texts."
    )


def _add_latency(
    report: Report, services: Services, contest: Contest, size: Size, *, rate: float
) -> None:
    """Send at a steady rate and time each event until a reader has its prediction."""
    rows = []
    for wait_ms in size.waits_ms:
        load = Load(
            bootstrap=services.kafka,
            topic=f"load.{wait_ms}",
            output=f"load.{wait_ms}.out",
            texts=contest.texts.rows,
            rate=rate,
            warm_up_s=2.0,
            seconds=size.job_seconds,
        )
        create_topics(services.kafka, {load.topic: PARTITIONS, load.output: PARTITIONS})
        job = Job(load.topic, output=load.output, max_wait_ms=wait_ms, policy="learnt")

        def run(done: Callable[[], bool], job: Job = job) -> None:
            run_worker(services, contest.engine, job, until=lambda _: done())

        found = latencies_ms(load, run)
        p50, p99 = np.percentile(found, (50, 99)).tolist()
        rows.append((wait_ms, round(rate), len(found), round(p50), round(p99)))
    report.tables.append(
        Table(
            "Latency at half load, from `send` to a `read_committed` reader, exits as learnt",
            ("max_wait_ms", "events a second", "events", "p50 ms", "p99 ms"),
            tuple(rows),
        )
    )


def _texts(a_domain: int, engine: Engine) -> Texts:
    rows, true = [], {}
    for domain, path in sample_files().items():
        for text in read_texts(path)[:a_domain]:
            rows.append((domain, text.text))
            true[text.text] = text.label
    random.Random(0).shuffle(rows)
    results = engine.run([text for _, text in rows], [engine.config.exits - 1] * len(rows))
    said = {text: r.labels[-1] for (_, text), r in zip(rows, results, strict=True)}
    return Texts(tuple(rows), true, said)


def _turned(names: list[str], by: int) -> list[str]:
    """Return the names from another one on each time, so that none is always first."""
    at = by % len(names)
    return names[at:] + names[:at]


def _ratio(ours: list[float], theirs: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def _percent(hits: Iterable[bool]) -> str:
    found = list(hits)
    return f"{100 * sum(found) / len(found):.1f}"
