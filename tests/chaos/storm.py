"""Runs workers under kills, freezes, restarts and scaling, and checks what came out."""

from __future__ import annotations

import os
import random
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import orjson
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from consumer.rebuilding import kafka_state
from consumer.settings import KafkaSettings
from consumer.topics import create_topics
from policy_state.backends.redis import RedisStore
from policy_state.doctor import Severity, examine
from policy_state.errors import PolicyNotFound, StoreUnavailable
from policy_state.report import read_reports

CRASH_STEPS = ("begin", "write", "offsets", "count", "commit", "committed")
DOMAINS = ("a", "b", "c")
HUNG = -99  # in place of the exit code of a worker that did not end when it was asked to


@dataclass(frozen=True)
class Storm:
    """What is to happen. Times are in seconds."""

    events: int = 3_000
    partitions: int = 8
    workers: int = 3
    kills: int = 6
    zombies: int = 1
    seed: int = 0
    bad_share: float = 0.05
    new_topics: int = 1
    rolling_restarts: int = 0
    scalings: int = 0  # down to one worker, up to four, down to one
    broker_restarts: int = 0
    redis_freezes: int = 0
    quiet_s: float = 1.0  # between two blows
    settle_s: float = 120.0  # after the last blow, until everything has to be through


@dataclass
class Report:
    """What came of it."""

    kills: int = 0
    crashed_at: Counter[str] = field(default_factory=Counter)
    resume_s: list[float] = field(default_factory=list)  # from a crash to the next batch there
    predictions: int = 0
    dead_letters: int = 0
    counted: int = 0
    twice: int = 0
    missing: int = 0
    disordered: int = 0
    unhealthy_exits: list[str] = field(default_factory=list)
    hung: int = 0  # workers that did not end when they were asked to
    examinations: int = 0
    problems: list[str] = field(default_factory=list)  # that the doctor found in the counters

    def summary(self) -> str:
        """Return the figures, a line each."""
        crashes = ", ".join(f"{step} {count}" for step, count in sorted(self.crashed_at.items()))
        waits = sorted(self.resume_s) or [float("nan")]
        lines = {
            "kills": f"{self.kills}; of these at a step of the commit: {crashes}",
            "from a crash to the next batch of that worker": (
                f"median {statistics.median(waits):.1f} s, longest {waits[-1]:.1f} s"
            ),
            "predictions": f"{self.predictions}, counted {self.counted}",
            "dead letters": self.dead_letters,
            "twice, missing, out of order": f"{self.twice}, {self.missing}, {self.disordered}",
            "problems the doctor found": f"{len(self.problems)} in {self.examinations} looks",
            "workers that hung": self.hung,
            "workers that ended by themselves": "; ".join(self.unhealthy_exits) or "none",
        }
        return "\n".join(f"{name}: {value}" for name, value in lines.items())


class Fleet:
    """Worker processes with stable names."""

    def __init__(self, environ: dict[str, str], logs: Path) -> None:
        self._environ = environ
        self._logs = logs
        self._begins: dict[str, int] = {}  # where in its log a worker's last start is
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, *, crash_at: str = "", after: int = 0) -> None:
        """Start a worker; with `crash_at` it ends itself at that step."""
        with (self._logs / f"{name}.log").open("ab") as log:
            self._begins[name] = log.tell()
            self.running[name] = subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("crashing_worker.py"))],
                env={
                    **os.environ,
                    **self._environ,
                    "OFFRAMP_INSTANCE": name,
                    "OMP_NUM_THREADS": "1",
                    "CRASH_AT": crash_at,
                    "CRASH_AFTER": str(after),
                    "PYTHONPATH": str(Path(__file__).parents[2]),
                },
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def kill(self, name: str) -> None:
        """End a worker at once."""
        self.running[name].kill()
        self.running[name].wait()

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal."""
        self.running[name].send_signal(number)

    def stop(self, name: str, timeout_s: float = 40) -> int:
        """Ask a worker to end and return its exit code."""
        process = self.running.pop(name)
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.send_signal(signal.SIGTERM)
        try:
            return process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return HUNG

    def close(self) -> None:
        """End all that still run."""
        for name in list(self.running):
            self.stop(name)

    def log(self, name: str) -> str:
        """Return what a worker has logged."""
        return (self._logs / f"{name}.log").read_text(errors="replace")

    def logged(self, name: str, what: str) -> bool:
        """Return whether a worker has logged something since its last start."""
        with (self._logs / f"{name}.log").open("rb") as log:
            log.seek(self._begins[name])
            return what.encode() in log.read()


class Arena:
    """Topics and settings of one storm on a running broker and Redis."""

    def __init__(self, kafka: str, redis_url: str, logs: Path, storm: Storm) -> None:
        self.kafka = kafka
        self.redis_url = redis_url
        self.prefix = f"s{time.time_ns()}"
        self.storm = storm
        self.sent: dict[str, bool] = {}  # id -> whether it can be predicted
        self.out, self.dead = f"{self.prefix}-out", f"{self.prefix}-dead"
        self.fleet = Fleet(
            {
                "OFFRAMP_KAFKA__BOOTSTRAP_SERVERS": kafka,
                "OFFRAMP_KAFKA__GROUP": self.prefix,
                "OFFRAMP_KAFKA__DEAD_LETTERS": self.dead,
                "OFFRAMP_KAFKA__METADATA_MAX_AGE_S": "2",
                "OFFRAMP_KAFKA__SESSION_TIMEOUT_S": "6",
                "OFFRAMP_KAFKA__REQUEST_TIMEOUT_S": "10",
                "OFFRAMP_REDIS__URL": redis_url,
                "OFFRAMP_BATCH__MAX_EVENTS": "32",
                "OFFRAMP_ROUTES": orjson.dumps(
                    [
                        {
                            "topics": rf"{self.prefix}\.in\d+",
                            "domain": "header:domain",
                            "output": self.out,
                        }
                    ]
                ).decode(),
            },
            logs,
        )
        create_topics(kafka, {f"{self.prefix}.in0": storm.partitions, self.out: 3, self.dead: 1})

    def produce(self, count: int, *, topic: int = 0) -> None:
        """Write events, some of which cannot be parsed; each has an id in its key."""
        producer = KafkaProducer(bootstrap_servers=self.kafka, acks="all", linger_ms=10)
        rng = random.Random(f"{self.storm.seed}/{topic}/{len(self.sent)}")
        name = f"{self.prefix}.in{topic}"
        for _ in range(count):
            event_id = f"e{len(self.sent)}"
            good = rng.random() >= self.storm.bad_share
            self.sent[event_id] = good
            text = "good film ." if rng.random() < 0.5 else "the room was not good !"
            value = orjson.dumps({"id": event_id, "text": text}) if good else b'{"text": \xff'
            producer.send(
                name,
                key=event_id.encode(),
                value=value,
                headers=[("domain", rng.choice(DOMAINS).encode())],
            )
        producer.flush(timeout=60)
        producer.close()

    def counted(self) -> int:
        """Return how many texts the counters hold; -1 where Redis does not tell."""
        try:
            with RedisStore(self.redis_url) as store:
                return sum(r.exits[0].observed for r in read_reports(store, "default"))
        except Exception:  # noqa: BLE001  (frozen or restarting: that is the storm)
            return -1

    def examine(self, report: Report, *, at_the_end: bool = False) -> None:
        """Enter what `offramp policy doctor` finds; nothing where Redis cannot tell (yet).

        Before the end there may be gaps, of what a worker holds or has left behind.
        """
        kafka = None
        if at_the_end:
            kafka = kafka_state(KafkaSettings(bootstrap_servers=self.kafka, group=self.prefix))
        try:
            with RedisStore(self.redis_url) as store:
                read_reports(store, "default", domains=[])  # opens it
                if kafka is None:
                    findings = [f for f in examine(store).findings if f.check != "gaps"]
                else:
                    known = {"logs": kafka.logs, "committed": kafka.committed}
                    findings = examine(store, **known).findings
        except (StoreUnavailable, PolicyNotFound):
            return
        report.examinations += 1
        report.problems += [str(f) for f in findings if f.severity is Severity.PROBLEM]

    def read(self, topic: str) -> list:
        """Return the committed records of a topic."""
        consumer = KafkaConsumer(
            bootstrap_servers=self.kafka,
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            enable_auto_commit=False,
        )
        partitions = [TopicPartition(topic, p) for p in consumer.partitions_for_topic(topic)]
        consumer.assign(partitions)
        ends = consumer.end_offsets(partitions)
        found = []
        while any(consumer.position(tp) < ends[tp] for tp in partitions):
            for rows in consumer.poll(timeout_ms=200).values():
                found.extend(rows)
        consumer.close()
        return found


def weather(  # noqa: C901, PLR0912, PLR0915  (one branch a kind of blow)
    arena: Arena, report: Report, *, kafka_server, redis_server
) -> None:
    """Let it all happen, while events keep coming."""
    storm, fleet = arena.storm, arena.fleet
    rng = random.Random(storm.seed)
    names = [f"w{i}" for i in range(storm.workers)]
    for name in names:
        fleet.start(name)
    blows = [*(["kill"] * storm.kills), *(["zombie"] * storm.zombies)]
    blows += ["topic"] * storm.new_topics + ["roll"] * storm.rolling_restarts
    blows += ["scale"] * storm.scalings
    blows += ["broker"] * storm.broker_restarts + ["redis"] * storm.redis_freezes
    rng.shuffle(blows)
    steps = [CRASH_STEPS[i % len(CRASH_STEPS)] for i in range(storm.kills)]
    share, topics = storm.events // (len(blows) + 1), 1
    arena.produce(share + storm.events % (len(blows) + 1))
    for blow in blows:
        arena.produce(share // 2)
        time.sleep(storm.quiet_s)
        name = rng.choice(names)
        before = arena.counted()
        if blow == "kill":
            step = steps.pop()
            fleet.kill(name)
            fleet.start(name, crash_at=step, after=rng.randrange(3))
            report.kills += 1
            _wait(lambda n=name: fleet.logged(n, "started"), 15)
            arena.produce(share - share // 2)  # something to do, so that it comes to the step
            if _wait(lambda n=name: fleet.running[n].poll() is not None, 15):
                report.kills += 1
                report.crashed_at[step] += 1
                begun = time.monotonic()
                fleet.start(name)
                if _wait(lambda n=name: fleet.logged(n, " events="), 60):
                    report.resume_s.append(time.monotonic() - begun)
        elif blow == "zombie":
            fleet.signal(name, signal.SIGSTOP)
            time.sleep(8)  # longer than the session: its partitions go to the others
            fleet.signal(name, signal.SIGCONT)
        elif blow == "topic":
            create_topics(arena.kafka, {f"{arena.prefix}.in{topics}": 2})
            arena.produce(share, topic=topics)
            topics += 1
        elif blow == "roll":
            for each in names:
                _stop(fleet, each, report)
                fleet.start(each)
        elif blow == "scale":
            for count in (1, 4, 1, storm.workers):
                _scale(arena, count, report)
        elif blow == "broker":
            kafka_server.kill()
            time.sleep(2)
            kafka_server.restart()
        elif blow == "redis":
            redis_server.pause()
            time.sleep(5)
            redis_server.resume()
        if blow != "kill":
            arena.produce(share - share // 2)
        _wait(lambda b=before: arena.counted() > b, 60)
        arena.examine(report)
        _restart_dead(fleet, names, report)


def _stop(fleet: Fleet, name: str, report: Report) -> None:
    """Ask a worker to end, and note where it does not end well.

    One that was killed, or asked before it could listen, has ended by the signal: that is well.
    """
    if (code := fleet.stop(name)) not in {0, -signal.SIGKILL, -signal.SIGTERM}:
        tail = fleet.log(name).splitlines()[-1:]
        report.unhealthy_exits.append(f"{name}: {code}: {tail}")
        report.hung += code == HUNG


def _scale(arena: Arena, count: int, report: Report) -> None:
    """Let so many workers run, until they have counted something that came since."""
    fleet = arena.fleet
    for name in sorted(fleet.running)[count:]:
        _stop(fleet, name, report)
    for i in range(count):
        if f"w{i}" not in fleet.running:
            fleet.start(f"w{i}")
    for name in fleet.running:
        _wait(lambda n=name: fleet.logged(n, "started"), 15)
    before = arena.counted()
    arena.produce(100)
    _wait(lambda: arena.counted() > before, 60)


def check(arena: Arena, report: Report) -> Report:
    """Wait until everything is through, and compare what came out with what went in.

    Then all workers are asked to end.
    """
    names = list(arena.fleet.running)
    good = sum(arena.sent.values())
    deadline = time.monotonic() + arena.storm.settle_s
    while time.monotonic() < deadline and arena.counted() < good:
        _restart_dead(arena.fleet, names, report)
        time.sleep(0.5)
    time.sleep(2)
    predictions, letters = arena.read(arena.out), arena.read(arena.dead)
    seen = Counter(r.key.decode() for r in (*predictions, *letters))
    report.predictions, report.dead_letters = len(predictions), len(letters)
    report.twice = sum(count - 1 for count in seen.values())
    report.missing = len(arena.sent.keys() - seen.keys())
    report.counted = arena.counted()
    arena.examine(report, at_the_end=True)
    wrong = {r.key.decode() for r in letters} ^ {k for k, ok in arena.sent.items() if not ok}
    report.missing += len(wrong)
    last: dict[tuple[str, int, str, int], int] = defaultdict(lambda: -1)
    for r in (*predictions, *letters):
        topic, partition, offset = _source(r)
        place = (r.topic, r.partition, topic, partition)
        report.disordered += offset <= last[place]
        last[place] = offset
    for name in names:
        _stop(arena.fleet, name, report)
    return report


def _source(record) -> tuple[str, int, int]:
    """Return topic id, partition and offset of what a prediction or dead letter is for."""
    said = {name.removeprefix("offramp.error."): value for name, value in record.headers}
    source = {k: v.decode() for k, v in said.items()} or orjson.loads(record.value)["source"]
    return source["topic_id"], int(source["partition"]), int(source["offset"])


def _restart_dead(fleet: Fleet, names: list[str], report: Report) -> None:
    """Start what has ended, as a cluster would, and note what ended badly by itself."""
    for name in names:
        process = fleet.running.get(name)
        if process is None or process.poll() is not None:
            if process is not None and process.returncode not in (0, -signal.SIGKILL):
                tail = fleet.log(name).splitlines()[-1:]
                report.unhealthy_exits.append(f"{name}: {process.returncode}: {tail}")
            fleet.start(name)


def _wait(condition, timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.1)
    return False
