"""What came of a storm: what came out is compared with what went in."""

from __future__ import annotations

import signal
import statistics
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import orjson

from tests.support.workers.storm_fleet import HUNG

if TYPE_CHECKING:
    from tests.support.workers.arena import Arena
    from tests.support.workers.storm_fleet import Fleet


@dataclass
class Report:
    """What came of it."""

    kills: int = 0
    crashed_at: Counter[str] = field(default_factory=Counter)
    resume_s: list[float] = field(default_factory=list)  # from a crash to the next batch there
    predictions: int = 0
    dead_letters: int = 0
    counted: int = 0
    gated: int = 0  # predictions of texts that met a gate
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


def check(arena: Arena, report: Report) -> Report:
    """Wait until everything is through, and compare what came out with what went in.

    Then all workers are asked to end.
    """
    names = list(arena.fleet.running)
    good = sum(arena.sent.values())
    deadline = time.monotonic() + arena.storm.settle_s
    while time.monotonic() < deadline and arena.counted() < good:
        restart_dead(arena.fleet, names, report)
        time.sleep(0.5)
    time.sleep(2)
    predictions, letters = arena.read(arena.out), arena.read(arena.dead)
    seen = Counter(r.key.decode() for r in (*predictions, *letters))
    report.predictions, report.dead_letters = len(predictions), len(letters)
    report.twice = sum(count - 1 for count in seen.values())
    report.missing = len(arena.sent.keys() - seen.keys())
    report.counted = arena.counted()
    report.gated = sum("gate" in orjson.loads(r.value) for r in predictions)
    arena.examine(report, at_the_end=True)
    wrong = {r.key.decode() for r in letters} ^ {k for k, ok in arena.sent.items() if not ok}
    report.missing += len(wrong)
    last: dict[tuple[str, int, str, int], int] = defaultdict(lambda: -1)
    for r in (*predictions, *letters):
        topic, partition, offset = source(r)
        way = (r.topic, r.partition, topic, partition)
        report.disordered += offset <= last[way]
        last[way] = offset
    for name in names:
        stop(arena.fleet, name, report)
    return report


def source(record) -> tuple[str, int, int]:
    """Return topic id, partition and offset of what a prediction or dead letter is for."""
    said = {name.removeprefix("offramp.error."): value for name, value in record.headers}
    source = {k: v.decode() for k, v in said.items()} or orjson.loads(record.value)["source"]
    return source["topic_id"], int(source["partition"]), int(source["offset"])


def stop(fleet: Fleet, name: str, report: Report) -> None:
    """Ask a worker to end, and note where it does not end well.

    One that was killed, or asked before it could listen, has ended by the signal: that is well.
    """
    if (code := fleet.stop(name)) not in {0, -signal.SIGKILL, -signal.SIGTERM}:
        tail = fleet.log(name).splitlines()[-1:]
        report.unhealthy_exits.append(f"{name}: {code}: {tail}")
        report.hung += code == HUNG


def restart_dead(fleet: Fleet, names: list[str], report: Report) -> None:
    """Start what has ended, as a cluster would, and note what ended badly by itself."""
    for name in names:
        process = fleet.running.get(name)
        if process is None or process.poll() is not None:
            if process is not None and process.returncode not in (0, -signal.SIGKILL):
                tail = fleet.log(name).splitlines()[-1:]
                report.unhealthy_exits.append(f"{name}: {process.returncode}: {tail}")
            fleet.start(name)
