"""Faults that meet: links that fail, topics made anew, an emptied Redis, workers that go."""

from __future__ import annotations

import random
import re
import shutil
import signal
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from redis import Redis

from tests.chaos.other_client import write_transactions
from tests.chaos.outcome import restart_dead, stop
from tests.chaos.settling import doctor
from tests.chaos.storm import CRASH_STEPS
from tests.support.kafka_admin import make_anew
from tests.support.workers.storm_fleet import wait

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deploy.local.redis_server import RedisServer
    from tests.chaos.outcome import Report
    from tests.support.servers.kafka_cluster import KafkaCluster
    from tests.support.servers.proxies import Proxy
    from tests.support.workers.arena import Arena

FAULTS = (
    "cut_in_a_commit",
    "killed_with_texts",
    "asked_to_end_with_texts",
    "emptied_with_texts",
    "emptied_and_killed",
    "made_anew_before_the_frozen",
    "made_anew_in_a_commit",
    "came_and_went",
)
ASIDE = "w3"  # who comes and goes
REMADE = 1  # the number of the input that is deleted and made anew
_BATCH = re.compile(r"batch events=[1-9]")
_LINKS = [
    (where, kind)
    for where in ("Kafka", "Redis")
    for kind in ("refuses", "is silent", "is slow", "is cut")
]


@dataclass
class Weather:
    """All that a fault needs."""

    arena: Arena
    cluster: KafkaCluster
    redis: RedisServer
    to_redis: dict[str, Proxy]  # by worker
    report: Report
    rng: random.Random
    met: Counter[str] = field(default_factory=Counter)  # what came to pass
    aborted: int = 0
    unseen_by_doctor: list[str] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        """The workers that stay."""
        return [f"w{i}" for i in range(self.arena.storm.workers)]

    def rage(self) -> None:
        """Let the faults come, one after the other without rest, each beside a link that fails."""
        storm = self.arena.storm
        share = storm.events // len(storm.faults)
        links: list[tuple[str, str]] = []
        for fault in self.rng.sample(storm.faults, len(storm.faults)):
            links = links or self.rng.sample(_LINKS, len(_LINKS))
            with self.failing_link(*links.pop()):
                self.feed(share // 2)
                getattr(self, fault)()
                self.feed(share - share // 2)
            restart_dead(self.arena.fleet, self.names, self.report)

    def feed(self, count: int) -> None:
        """Write events with one of the two clients, to one of the two inputs."""
        arena = self.arena
        topic = REMADE if self.rng.random() < 0.3 else 0
        if self.rng.random() < 0.5:
            arena.produce(count, topic=topic)
        else:
            self.aborted += write_transactions(arena, count, topic=topic, rng=self.rng)

    @contextmanager
    def failing_link(self, where: str, kind: str) -> Iterator[None]:
        """Have the way of a worker to Kafka or to Redis fail meanwhile."""
        name = self.rng.choice(self.names)
        doors = self.cluster.doors(name) if where == "Kafka" else [self.to_redis[name]]
        for door in doors:
            if kind == "refuses":
                door.refuse()
            elif kind == "is silent":
                door.is_silent = True
            elif kind == "is slow":
                door.delay_s = self.rng.uniform(0.05, 0.5)
            else:
                door.cut()
        self.met[f"{where} {kind}"] += 1
        yield
        for door in doors:
            door.heal()

    def cut_in_a_commit(self) -> None:
        """Take Kafka and Redis from a worker at a step of its commit, and give them back."""
        name = self.rng.choice(self.names)
        if not self.freeze_in_a_commit(name):
            return
        doors = [*self.cluster.doors(name), self.to_redis[name]]
        is_silent = self.rng.random() < 0.5
        for door in doors:
            door.is_silent = is_silent
            if not is_silent:
                door.refuse()
        self.arena.fleet.signal(name, signal.SIGCONT)
        time.sleep(self.rng.uniform(1, 8))
        for door in doors:
            door.heal()
        self.met["cut_in_a_commit"] += 1

    def killed_with_texts(self) -> None:
        """Kill a worker that holds texts; the doctor has to tell of them when Redis is back."""
        with self.away_from_redis() as holder:
            if self.rng.random() < 0.3:
                self.empty()
            if holder:
                self.arena.fleet.kill(holder)
                self.report.kills += 1
                self.met["killed_with_texts"] += 1
        self.ask_doctor(holder)

    def asked_to_end_with_texts(self) -> None:
        """Ask a worker that holds texts to end."""
        with self.away_from_redis() as holder:
            if holder:
                stop(self.arena.fleet, holder, self.report)
                self.met["asked_to_end_with_texts"] += 1
        self.ask_doctor(holder)

    def emptied_with_texts(self) -> None:
        """Empty Redis while workers hold texts."""
        with self.away_from_redis() as holder:
            self.empty()
            self.met["emptied_with_texts"] += holder is not None

    def emptied_and_killed(self) -> None:
        """Empty Redis, and kill a worker at once."""
        self.empty()
        self.arena.fleet.kill(self.rng.choice(self.names))
        self.report.kills += 1
        self.met["emptied_and_killed"] += 1

    def made_anew_before_the_frozen(self) -> None:
        """Make a topic anew while a worker stands still, shorter or longer than its session."""
        name = self.rng.choice(self.names)
        self.arena.fleet.signal(name, signal.SIGSTOP)
        self.make_anew()
        time.sleep(self.rng.choice((0.0, 2.0, 8.0)))
        self.arena.fleet.signal(name, signal.SIGCONT)
        self.met["made_anew_before_the_frozen"] += 1

    def made_anew_in_a_commit(self) -> None:
        """Make a topic anew while a worker stands at a step of a commit."""
        name = self.rng.choice(self.names)
        is_frozen = self.freeze_in_a_commit(name)
        self.make_anew()
        self.arena.fleet.signal(name, signal.SIGCONT)
        self.met["made_anew_in_a_commit"] += is_frozen

    def came_and_went(self) -> None:
        """Have a worker come and another one go, and both go back."""
        name = self.rng.choice(self.names)
        self.arena.fleet.start(ASIDE)
        wait(lambda: self.arena.fleet.logged(ASIDE, "reading topic"), 8)
        self.feed(30)
        stop(self.arena.fleet, name, self.report)
        self.feed(30)
        time.sleep(self.rng.uniform(0, 4))
        stop(self.arena.fleet, ASIDE, self.report)
        self.met["came_and_went"] += 1

    def freeze_in_a_commit(self, name: str) -> bool:
        """Start a worker anew and give it texts until it freezes at a step; say whether it did."""
        fleet = self.arena.fleet
        fleet.kill(name)
        self.report.kills += 1
        step = self.rng.choice(CRASH_STEPS)
        fleet.start(name, crash_at=step, after=self.rng.randrange(2), by=signal.SIGSTOP)
        for topic in (0, REMADE, 0):
            self.arena.produce(40, topic=topic)
            if wait(lambda: fleet.is_frozen(name), 8):
                self.report.crashed_at[step] += 1
                return True
        return False

    @contextmanager
    def away_from_redis(self) -> Iterator[str | None]:
        """Keep all workers from Redis; yield one that has predicted since, and so holds texts."""
        fleet = self.arena.fleet
        for door in self.to_redis.values():
            door.refuse()
        time.sleep(0.5)
        before = {name: len(fleet.log(name)) for name in self.names}
        self.feed(80)
        held: list[str] = []

        def someone_holds() -> bool:
            held[:] = [
                name
                for name, begins in before.items()
                if fleet.running[name].poll() is None and _BATCH.search(fleet.log(name), begins)
            ]
            return bool(held)

        wait(someone_holds, 20)
        yield self.rng.choice(held) if held else None
        for door in self.to_redis.values():
            door.heal()

    def ask_doctor(self, holder: str | None) -> None:
        """Have him find what a worker has left uncounted, before anybody counts it."""
        if holder is None:
            return
        code, said = doctor(self.arena)
        self.met["told by the doctor"] += code != 0
        if code == 0:
            self.unseen_by_doctor.append(said)

    def empty(self) -> None:
        """Empty Redis: by FLUSHALL, or by a start without its data."""
        if self.rng.random() < 0.5:
            with Redis.from_url(self.redis.url) as client:
                client.flushall()
            return
        self.redis.kill()
        shutil.rmtree(self.redis.home / "appendonlydir", ignore_errors=True)
        (self.redis.home / "appendonly.aof").unlink(missing_ok=True)
        self.redis.restart()

    def make_anew(self) -> None:
        """Delete the topic and create it, and write as much as it had or less."""
        topic = f"{self.arena.prefix}.in{REMADE}"
        make_anew(self.cluster.admin, topic, partitions=2, copies=len(self.cluster.nodes))
        self.arena.forget(topic)
        self.arena.produce(60, topic=REMADE)
