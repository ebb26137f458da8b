"""What metrics and logs cost: the worker with a free model, with and without both, in turns.

Starts a Kafka and a Redis on loopback. With both, each batch is reported and logged, the port is
read once a second, and one domain is named; without, a worker logs warnings only.
"""

from __future__ import annotations

import logging
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from urllib.request import urlopen

from benchmarks.free_model import FreeModel
from benchmarks.report import Goal, Report, Table, hand_in, parser
from benchmarks.stream.load import PARTITIONS, fill
from benchmarks.stream.parts import DOMAINS, EVENT_BYTES, padded
from benchmarks.stream.topics import create_topics
from benchmarks.stream.worker import DEAD_LETTERS, OUTPUT, Job, Marks, run_worker
from consumer.metrics.board import Board
from consumer.metrics.report import Reporter
from consumer.metrics.server import MetricsPort
from consumer.process.log_lines import FORM
from consumer.settings.sections import MetricsSettings
from deploy.local.process import free_port
from deploy.local.services import Services, local_services

_BATCH = 256
_GOAL = 0.98
_TOPIC, _WORKER = "observing", "bench"
_EVERY_S = 1.0
_BOTH, _METRICS, _LOG, _NONE = "with metrics and log", "with metrics", "with log", "without both"


def main() -> None:
    """Measure, print, and write the results where asked."""
    options = parser("stream.observing", __doc__).parse_args()
    events, rounds = (6_000, 3) if options.quick else (12_000, 12)
    logging.getLogger("kafka").setLevel(logging.ERROR)
    import_module("consumer.metrics.exposition")  # once, and not in the first run that is timed
    report = Report("observing")
    with local_services() as services:
        create_topics(services.kafka, {OUTPUT: PARTITIONS, DEAD_LETTERS: 1})
        fill(services.kafka, _TOPIC, padded(events))
        compare(report, services, events, rounds)
    hand_in(report, options)


def compare(report: Report, services: Services, events: int, rounds: int) -> None:
    """Add what a run with both has of the throughput of one without."""
    ways: dict[str, Callable[[], Marks]] = {
        _BOTH: lambda: _logged(lambda: _observed(services, events)),
        _METRICS: lambda: _observed(services, events),
        _LOG: lambda: _logged(lambda: _run(services, events, None)),
        _NONE: lambda: _run(services, events, None),
    }
    runs: dict[str, list[Marks]] = {who: [] for who in ways}
    for number in range(rounds):
        for who in list(ways)[:: -1 if number % 2 else 1]:
            runs[who].append(ways[who]())
    rows = []
    for who, found in runs.items():
        pairs = list(zip(found, runs[_NONE], strict=True))
        rate = statistics.median(mine.rate() / other.rate() for mine, other in pairs)
        cpu = statistics.median(mine.all_cpu_us() / other.all_cpu_us() for mine, other in pairs)
        if who == _BOTH:
            name = f"throughput {_BOTH}, beside {_NONE}, batches of {_BATCH}"
            report.goals.append(Goal.at_least(name, _GOAL, rate))
        rows.append(
            (
                *(who, round(statistics.median(run.rate() for run in found)), f"{rate:.3f} x"),
                *(round(statistics.median(run.all_cpu_us() for run in found), 1), f"{cpu:.3f} x"),
            )
        )
    columns = ("worker", "events a second", "beside", "CPU microseconds an event", "beside")
    report.tables.append(Table("Plumbing, free model", columns, tuple(rows)))
    report.notes.append(
        f"{events} events of {EVENT_BYTES} bytes, {len(DOMAINS)} domains, {rounds} rounds in "
        f"turns, ratios within rounds, their median. The metrics are read once a second."
    )


def _run(services: Services, events: int, reporter: Reporter | None) -> Marks:
    job = Job(_TOPIC, batch=_BATCH, policy=f"observing-{time.time_ns()}", named=DOMAINS[:1])
    until: Callable[[Marks], bool] = lambda marks: marks.done >= events  # noqa: E731
    return run_worker(services, FreeModel(), job, until=until, reporter=reporter).marks


def _observed(services: Services, events: int) -> Marks:
    board = Board([_WORKER], stuck_s=300)
    settings = MetricsSettings(port=free_port())
    with MetricsPort(board, settings), _read(settings.port):
        return _run(services, events, Reporter(lambda report: board.take(_WORKER, report)))


@contextmanager
def _read(port: int) -> Iterator[None]:
    """Read the metrics once a second, from a thread."""
    over = threading.Event()

    def read() -> None:
        while not over.wait(_EVERY_S):
            with urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
                answer.read()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        yield
    finally:
        over.set()
        reader.join()


def _logged(run: Callable[[], Marks]) -> Marks:
    """Write the log of a run to a file, from the level info on."""
    ours = logging.getLogger("offramp")
    with tempfile.TemporaryFile("w") as file:
        handler = logging.StreamHandler(file)
        handler.setFormatter(logging.Formatter(FORM))
        ours.addHandler(handler)
        ours.setLevel(logging.INFO)
        ours.propagate = False
        try:
            return run()
        finally:
            ours.removeHandler(handler)
            ours.setLevel(logging.WARNING)
            ours.propagate = True


if __name__ == "__main__":
    main()
