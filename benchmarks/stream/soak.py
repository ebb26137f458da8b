"""Whether workers stay as they are: memory, descriptors and latency over a long run with kills.

Starts a Kafka, a Redis and three workers with the shipped model. Texts come at a steady rate. One
worker is never touched, so what it leaks adds up; the others are killed (-9), asked to end, or
frozen for longer than their session, at random. At the end each text must be predicted once and
counted once.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import orjson
import psutil
from kafka import KafkaConsumer, KafkaProducer

from benchmarks.report import Goal, Report, Table, hand_in, parser
from benchmarks.stream.course import Course, by_minute, plot, thirds
from benchmarks.stream.load import event
from benchmarks.stream.topics import create_topics
from consumer.entry import own_command
from demo.texts import read_texts, sample_files
from deploy.local.services import Services, local_services
from policy_state.reports.domain import read_reports
from policy_state.store.redis.store import RedisStore

_TOPIC, _OUTPUT, _DEAD, _GROUP = "soak", "soak.out", "soak.dead", "soak"
_PARTITIONS = 6
_SPARED, _OTHERS = "w0", ("w1", "w2")
_SESSION_S = 6
_SAMPLE_S = 5.0
_TICK_S = 0.02
_SETTLE_S = 120.0
_LIMIT = 1.1  # the last third, compared with the first after the warm-up
_LATENCY_LIMIT = 1.5  # a machine that others use, too
_BLOWS = ("kill", "kill", "stop", "freeze")


class Fleet:
    """The workers, as processes."""

    def __init__(self, services: Services, logs: Path) -> None:
        routes = f'[{{"topics": "{_TOPIC}", "domain": "field:domain", "output": "{_OUTPUT}"}}]'
        self._environ = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "OFFRAMP_KAFKA__BOOTSTRAP_SERVERS": services.kafka,
            "OFFRAMP_KAFKA__GROUP": _GROUP,
            "OFFRAMP_KAFKA__DEAD_LETTERS": _DEAD,
            "OFFRAMP_KAFKA__SESSION_TIMEOUT_S": str(_SESSION_S),
            "OFFRAMP_REDIS__URL": services.redis,
            "OFFRAMP_ROUTES": routes,
        }
        self._logs = logs
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str) -> None:
        """Start a worker."""
        with (self._logs / f"{name}.log").open("ab") as log:
            self.running[name] = subprocess.Popen(  # noqa: S603  (ourselves)
                own_command("worker", "--instance", name), env=self._environ, stderr=log
            )

    def has_started(self, name: str) -> bool:
        """Return whether a worker has ever joined its group.

        Raises:
            RuntimeError: it has ended.
        """
        if (code := self.running[name].poll()) is not None:
            raise RuntimeError(f"{name} ended with {code} before it had started")
        return b"started instance=" in (self._logs / f"{name}.log").read_bytes()

    def doctor(self) -> int:
        """Return the exit code of `offramp policy doctor`."""
        command = own_command("policy", "doctor")
        done = subprocess.run(command, env=self._environ, stdout=subprocess.DEVNULL, check=False)  # noqa: S603
        return done.returncode

    def close(self) -> None:
        """Have all of them end."""
        for process in self.running.values():
            process.send_signal(signal.SIGCONT)
            process.terminate()
        for process in self.running.values():
            process.wait(60)


def main() -> None:
    """Run, print, and write the results and the plot where asked."""
    asked = parser("stream.soak", __doc__)
    asked.add_argument("--minutes", type=float, default=20.0, help="how long (20)")
    asked.add_argument("--rate", type=float, default=50.0, help="texts a second (50)")
    asked.add_argument("--every", type=float, default=60.0, help="mean seconds between blows (60)")
    options = asked.parse_args()
    seconds, every_s = options.minutes * 60, options.every
    if options.quick:
        seconds, every_s = 40.0, 15.0
    report = Report("soak")
    with tempfile.TemporaryDirectory() as logs, local_services() as services:
        topics = {_TOPIC: _PARTITIONS, _OUTPUT: _PARTITIONS, _DEAD: 1}
        create_topics(services.kafka, topics)
        fleet = Fleet(services, Path(logs))
        try:
            course = soak(services, fleet, seconds=seconds, rate=options.rate, every_s=every_s)
            examine(report, services, fleet, course, long=not options.quick)
        finally:
            fleet.close()
    report.notes.append(
        f"{seconds / 60:g} minutes, {options.rate:g} texts a second, the shipped model in fp32 "
        f"with a thread each, three workers, {_PARTITIONS} partitions. Memory and descriptors are "
        f"those of {_SPARED}, which is never touched; latency is from a text's timestamp to its "
        "prediction at a read_committed reader, of all texts, those of killed workers included. "
        "Thirds are of the time after the first tenth; what they are compared by is their median."
    )
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        plot(course, options.out / "soak.png")
    hand_in(report, options)


def soak(
    services: Services, fleet: Fleet, *, seconds: float, rate: float, every_s: float
) -> Course:
    """Let it all happen, and return when every text has its prediction or time is over."""
    for name in (_SPARED, *_OTHERS):
        fleet.start(name)
    while not all(map(fleet.has_started, fleet.running)):
        time.sleep(_TICK_S)
    course = Course()
    enough, over = threading.Event(), threading.Event()
    sending = threading.Thread(target=_send, args=(services.kafka, course, enough, rate))
    watching = (
        threading.Thread(target=_read, args=(services.kafka, course, over)),
        threading.Thread(target=_sample, args=(fleet.running[_SPARED].pid, course, over)),
    )
    for thread in (sending, *watching):
        thread.start()
    try:
        _strike(fleet, course, seconds=seconds, every_s=every_s)
        enough.set()
        sending.join()
        patience = time.monotonic() + _SETTLE_S
        while len(course.seen) < course.sent and time.monotonic() < patience:
            time.sleep(_TICK_S)
        time.sleep(_SAMPLE_S)  # for what would come twice
    finally:
        enough.set()
        over.set()
        for thread in (sending, *watching):
            thread.join()
    return course


def _send(bootstrap: str, course: Course, enough: threading.Event, rate: float) -> None:
    texts = [
        (name, text.text) for name, path in sample_files().items() for text in read_texts(path)
    ]
    random.Random(0).shuffle(texts)
    producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all", linger_ms=5)
    begun = time.monotonic()
    while not enough.wait(_TICK_S):
        for number in range(course.sent, int((time.monotonic() - begun) * rate)):
            value = event(number, *texts[number % len(texts)], at_s=time.time())
            producer.send(_TOPIC, value=value, partition=number % _PARTITIONS)
            course.sent = number + 1
    producer.flush(timeout=30)
    producer.close()


def _read(bootstrap: str, course: Course, over: threading.Event) -> None:
    consumer = KafkaConsumer(
        _OUTPUT,
        bootstrap_servers=bootstrap,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
    )
    while not over.is_set():
        for rows in consumer.poll(timeout_ms=100).values():
            now_ms, at_s = time.time() * 1000, course.now()
            for row in rows:
                fields = orjson.loads(row.value)
                course.seen[fields["id"]] += 1
                course.latencies.append((at_s, now_ms - fields["timestamp"]))
    consumer.close()


def _sample(pid: int, course: Course, over: threading.Event) -> None:
    process = psutil.Process(pid)
    while not over.wait(_SAMPLE_S):
        size_mib = process.memory_info().rss / 2**20
        course.samples.append((course.now(), size_mib, process.num_fds()))


def _strike(fleet: Fleet, course: Course, *, seconds: float, every_s: float) -> None:
    """Kill, stop and freeze workers at random, and start again what has ended."""
    rng, end = random.Random(1), time.monotonic() + seconds
    while (pause_s := rng.expovariate(1 / every_s)) < end - time.monotonic():
        time.sleep(pause_s)
        name, blow = rng.choice(_OTHERS), rng.choice(_BLOWS)
        process = fleet.running[name]
        course.blows.append((course.now(), blow))
        if blow == "freeze":
            process.send_signal(signal.SIGSTOP)
            time.sleep(_SESSION_S + 2)
            process.send_signal(signal.SIGCONT)
            continue
        process.send_signal(signal.SIGKILL if blow == "kill" else signal.SIGTERM)
        process.wait(60)
        fleet.start(name)
    time.sleep(max(0.0, end - time.monotonic()))


def examine(
    report: Report, services: Services, fleet: Fleet, course: Course, *, long: bool
) -> None:
    """Add what came of it: exactly once, and whether anything grew."""
    with RedisStore(services.redis) as store:
        read_reports(store, "default", domains=[])  # opens it
        counted = store.totals().stats.texts  # domains that drifted have started anew
    twice = sum(course.seen.values()) - len(course.seen)
    report.goals += [
        Goal.at_most("texts without a prediction", 0, course.sent - len(course.seen)),
        Goal.at_most("texts predicted twice", 0, twice),
        Goal.at_most("texts counted more or less than once", 0, abs(counted - course.sent)),
        Goal.at_most("exit code of `offramp policy doctor`", 0, fleet.doctor()),
    ]
    blows = Counter(blow for _, blow in course.blows)
    said = ", ".join(f"{blow} {count}" for blow, count in sorted(blows.items()))
    rows = {
        "memory (MiB)": thirds([(at, mib) for at, mib, _ in course.samples]),
        "descriptors": thirds([(at, float(count)) for at, _, count in course.samples]),
        "latency, p50 (ms)": thirds(by_minute(course.latencies, 0.5)),
        "latency, p99 (ms)": thirds(by_minute(course.latencies, 0.99)),
    }
    columns = ("", "first third", "second third", "last third")
    shown = tuple((name, *(round(each, 1) for each in found)) for name, found in rows.items())
    report.tables.append(Table("Over time, medians", columns, shown))
    report.notes.append(f"{course.sent:,} texts. Blows: {said}.")
    if long:
        limits = (_LIMIT, _LIMIT, _LATENCY_LIMIT)
        for (name, (first, _, last)), limit in zip(list(rows.items())[:3], limits, strict=True):
            report.goals.append(Goal.at_most(f"{name}, last third by first", limit, last / first))


if __name__ == "__main__":
    main()
