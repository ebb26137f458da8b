"""What metrics and logs cost: the worker with a free model, with and without both, in turns.

Starts a Kafka and a Redis on loopback. With metrics, each batch is reported, and a scrape is
answered every five seconds. With the log, each batch has its line of JSON in a file. Samples for
the history of a domain are not measured: a domain has two of them in each doubling of its texts.
Clocks of threads measure what this takes of the CPU time, because machines are never quite idle.
"""

from __future__ import annotations

import logging
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from benchmarks.free_model import FreeModel
from benchmarks.report import Goal, Report, Table, hand_in, parser
from benchmarks.stream.load import PARTITIONS, fill
from benchmarks.stream.parts import DOMAINS, EVENT_BYTES, padded
from benchmarks.stream.topics import create_topics
from benchmarks.stream.worker import DEAD_LETTERS, OUTPUT, Job, Marks, run_worker
from consumer.kafka.stream import KafkaStream
from consumer.metrics.board import Board
from consumer.metrics.exposition import exposed
from consumer.metrics.report import Reporter
from consumer.offramp import Offramp
from consumer.process.json_line import JsonLine
from consumer.settings.load import Settings
from consumer.worker.reporting import Observer, Reporting
from deploy.local.services import Services, local_services

_BATCH = 256
_GOAL = 0.02
_TOPIC, _WORKER = "observing", "bench"
_EVERY_S = 5.0
_BOTH, _METRICS, _LOG, _NONE = "with metrics and log", "with metrics", "with log", "without both"


class Clock:
    """CPU seconds of what is observed, in whatever thread."""

    def __init__(self) -> None:
        self.spent_s = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count the CPU time of this thread."""
        begun = time.thread_time()
        try:
            yield
        finally:
            self.spent_s += time.thread_time() - begun


_CLOCK = Clock()


class TimedObserver(Observer):
    """Logs batches, timed."""

    def committed(self, *args: Any, **more: Any) -> None:  # noqa: ANN401
        """Log a batch."""
        with _CLOCK.running():
            super().committed(*args, **more)


class TimedReporting(Reporting):
    """Logs and reports, timed."""

    def committed(self, *args: Any, **more: Any) -> None:  # noqa: ANN401
        """Log and report a batch."""
        with _CLOCK.running():
            super().committed(*args, **more)

    def came_round(self, **more: Any) -> None:  # noqa: ANN401
        """Report a turn."""
        with _CLOCK.running():
            super().came_round(**more)


@dataclass(frozen=True, slots=True)
class Run:
    """A run, and what observing it took of its CPU time."""

    marks: Marks
    share: float


def main() -> None:
    """Measure, print, and write the results where asked."""
    options = parser("stream.observing", __doc__).parse_args()
    events, rounds = (12_000, 3) if options.quick else (60_000, 6)
    logging.getLogger("kafka").setLevel(logging.ERROR)
    report = Report("observing")
    with local_services() as services:
        create_topics(services.kafka, {OUTPUT: PARTITIONS, DEAD_LETTERS: 1})
        fill(services.kafka, _TOPIC, padded(events))
        compare(report, partial(_run, services, events), rounds)
    report.notes.append(
        f"{events} events of {EVENT_BYTES} bytes, {len(DOMAINS)} domains, batches of {_BATCH}, "
        f"{rounds} rounds in turns, ratios within rounds, all figures medians. Shares are CPU time "
        "that threads spend on observing, of that of the whole process. Ratios of rates and of CPU "
        "time are as noisy as the machine is busy with other things."
    )
    hand_in(report, options)


def compare(report: Report, run: Callable[..., Run], rounds: int) -> None:
    """Add what observing takes, and how runs with it compare to runs without."""
    ways: dict[str, Callable[[], Run]] = {
        _BOTH: lambda: run(metrics=True, log=True),
        _METRICS: lambda: run(metrics=True, log=False),
        _LOG: lambda: run(metrics=False, log=True),
        _NONE: lambda: run(metrics=False, log=False),
    }
    runs: dict[str, list[Run]] = {who: [] for who in ways}
    for number in range(rounds):
        for who in list(ways)[:: -1 if number % 2 else 1]:
            runs[who].append(ways[who]())
    rows = []
    for who, found in runs.items():
        pairs = [(a.marks, b.marks) for a, b in zip(found, runs[_NONE], strict=True)]
        share = statistics.median(each.share for each in found)
        rate = statistics.median(mine.rate() / other.rate() for mine, other in pairs)
        cpu = statistics.median(mine.all_cpu_us() / other.all_cpu_us() for mine, other in pairs)
        if who == _BOTH:
            name = f"share of CPU time that metrics and log take, batches of {_BATCH}"
            report.goals.append(Goal.at_most(name, _GOAL, share))
        rows.append(
            (
                *(who, f"{100 * share:.2f}"),
                *(round(statistics.median(mine.rate() for mine, _ in pairs)), f"{rate:.3f} x"),
                f"{cpu:.3f} x",
            )
        )
    columns = ("worker", "share, %", "events a second", "beside without", "CPU time beside without")
    report.tables.append(Table("Plumbing, free model", columns, tuple(rows)))


def _run(services: Services, events: int, *, metrics: bool, log: bool) -> Run:
    job = Job(_TOPIC, batch=_BATCH, policy=f"observing-{time.time_ns()}")
    before_s = _CLOCK.spent_s
    board = Board([_WORKER], stuck_s=300)
    with _logged(wanted=log), _scraped(board, wanted=metrics):
        marks = run_worker(
            services,
            FreeModel(),
            job,
            until=lambda marks: marks.done >= events,
            observe=partial(_reporting, board) if metrics else lambda *_: TimedObserver(),
        ).marks
    return Run(marks, 1e6 * (_CLOCK.spent_s - before_s) / events / marks.all_cpu_us())


def _reporting(
    board: Board, stream: KafkaStream, offramp: Offramp, settings: Settings
) -> TimedReporting:
    reporter = Reporter(lambda report: board.take(_WORKER, report))
    return TimedReporting(reporter, stream, offramp, settings)


@contextmanager
def _scraped(board: Board, *, wanted: bool) -> Iterator[None]:
    """Make the answer to a scrape every few seconds, in a thread."""
    over = threading.Event()

    def scrape() -> None:
        while not over.wait(_EVERY_S):
            with _CLOCK.running():
                exposed(board, accept="")

    scraper = threading.Thread(target=scrape, daemon=True)
    if wanted:
        scraper.start()
    try:
        yield
    finally:
        over.set()
        if wanted:
            scraper.join()


@contextmanager
def _logged(*, wanted: bool) -> Iterator[None]:
    """Write the log to a file, from the level info on, or warnings only to nowhere."""
    ours = logging.getLogger("offramp")
    ours.setLevel(logging.INFO if wanted else logging.ERROR)
    ours.propagate = False
    with tempfile.TemporaryFile("w") as file:
        handler = logging.StreamHandler(file)
        handler.setFormatter(JsonLine(_WORKER))
        ours.addHandler(handler)
        try:
            yield
        finally:
            ours.removeHandler(handler)


if __name__ == "__main__":
    main()
