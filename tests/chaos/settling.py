"""Whether all that can still be answered is answered and counted, once each."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from policy_state.errors import PolicyNotFound, StoreUnavailable
from policy_state.reports.domain import read_reports
from policy_state.store.offsets import Counted
from policy_state.store.redis.store import RedisStore
from tests.chaos.other_client import read_keys
from tests.chaos.outcome import restart_dead, source
from tests.support.kafka_records import committed_reader

if TYPE_CHECKING:
    from tests.chaos.outcome import Report
    from tests.support.workers.arena import Arena

_ANSWERS_S = 60.0


@dataclass(frozen=True)
class Answer:
    """A prediction or a dead letter, and what it is for."""

    key: str
    stands: tuple[str, int]  # topic and partition
    topic_id: str
    partition: int
    offset: int
    is_text: bool

    def is_counted(self, marks: dict[str, Counted]) -> bool:
        """Say whether the counters have it."""
        mark = marks.get(f"{self.topic_id}/{self.partition}", Counted())
        return not any(
            first <= self.offset < end for first, end in mark.open_below(self.offset + 1)
        )


class Answers:
    """All that is committed of predictions and dead letters, read on as it comes."""

    def __init__(self, arena: Arena) -> None:
        self._consumer = committed_reader(arena.kafka, arena.out, arena.dead)
        self._out = arena.out
        self._partitions = sorted(self._consumer.assignment())
        self.found: list[Answer] = []

    def catch_up(self) -> list[Answer]:
        """Return what is new."""
        before = len(self.found)
        ends = self._consumer.end_offsets(self._partitions)
        deadline = time.monotonic() + _ANSWERS_S
        while any(self._consumer.position(tp) < ends[tp] for tp in self._partitions):
            assert time.monotonic() < deadline, f"not read up to {ends} in {_ANSWERS_S:.0f} s"
            for records in self._consumer.poll(timeout_ms=200).values():
                for r in records:
                    stands, is_text = (r.topic, r.partition), r.topic == self._out
                    self.found.append(Answer(r.key.decode(), stands, *source(r), is_text=is_text))
        return self.found[before:]

    def close(self) -> None:
        """End the reading."""
        self._consumer.close()


@dataclass(frozen=True)
class Books:
    """What is wrong, in numbers of records."""

    lost: int  # that can still be read, and have no answer
    doubled: int  # further answers to one record
    disordered: int  # answers that stand before one to an earlier record of the same partition
    mistaken: int  # predicted though not readable, or the reverse
    uncounted: int  # predicted, of topics that are there, and not counted
    miscounted: int  # by how much the counters differ from what their watermarks say
    answers: int
    counted: int

    @property
    def are_right(self) -> bool:
        """Say whether nothing is wrong."""
        wrong = (self.lost, self.doubled, self.disordered, self.mistaken, self.uncounted)
        return not any((*wrong, self.miscounted))


def books(arena: Arena, answers: Answers) -> Books:
    """Compare what came out, and what is counted, with what went in; 0 counted: nobody can tell."""
    marks: dict[str, Counted] = {}
    counted = 0
    try:
        with RedisStore(arena.redis_url) as store:
            counted = sum(r.exits[0].observed for r in read_reports(store, "default"))
            marks = dict(store.watermarks())
    except (StoreUnavailable, PolicyNotFound):
        pass
    answers.catch_up()
    found = answers.found
    seen = Counter(a.key for a in found)
    gone = arena.gone
    disordered = 0
    last: defaultdict[tuple[object, ...], int] = defaultdict(lambda: -1)
    for a in found:
        way = (a.stands, a.topic_id, a.partition)
        disordered += a.offset <= last[way]
        last[way] = a.offset
    texts = [a for a in found if a.is_text]
    return Books(
        lost=len(arena.sent.keys() - gone - seen.keys()),
        doubled=len(found) - len(seen),
        disordered=disordered,
        mistaken=sum(arena.sent.get(a.key) is not a.is_text for a in found),
        uncounted=sum(a.key not in gone and not a.is_counted(marks) for a in texts),
        miscounted=abs(counted - sum(a.is_counted(marks) for a in texts)),
        answers=len(found),
        counted=counted,
    )


def offramp(arena: Arena, *words: str) -> tuple[int, str]:
    """Run a command; return its exit code and what it says."""
    done = subprocess.run(
        [sys.executable, "-m", "consumer", *words],
        env={**os.environ, **arena.environ},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def doctor(arena: Arena) -> tuple[int, str]:
    """Return the exit code of `offramp policy doctor`, and what it says."""
    return offramp(arena, "policy", "doctor")


def wait_for_books(
    arena: Arena, answers: Answers, report: Report, *, within_s: float
) -> tuple[float, Books, tuple[int, str]]:
    """Return after how long all was in order, the books, and the doctor's last code and words.

    Where it takes too long that is infinite. Workers that end meanwhile are started again.
    """
    names = list(arena.fleet.running)
    begun = time.monotonic()
    while (now := time.monotonic() - begun) < within_s:
        restart_dead(arena.fleet, names, report)
        found = books(arena, answers)
        if found.are_right:
            told = doctor(arena)
            if told[0] == 0:
                return time.monotonic() - begun, found, told
        time.sleep(max(0.0, 1.0 - (time.monotonic() - begun - now)))
    return float("inf"), books(arena, answers), doctor(arena)


def other_client_agrees(arena: Arena, answers: Answers) -> bool:
    """Say whether librdkafka reads the same inputs and the same answers."""
    read = [read_keys(arena.kafka, topic) for topic in (arena.out, arena.dead)]
    written = {topic: read_keys(arena.kafka, topic) for topic in arena.inputs}
    answered = Counter(a.key for a in answers.found)
    return Counter(k for keys in read for k in keys) == answered and all(
        sorted(keys) == sorted(arena.inputs[topic]) for topic, keys in written.items()
    )
