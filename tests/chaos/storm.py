"""Runs workers under kills, freezes, restarts and scaling, and checks what came out."""

from __future__ import annotations

import random
import signal
import time

from tests.chaos.outcome import Report, restart_dead, stop
from tests.support.topics import create_topics
from tests.support.workers.arena import Arena
from tests.support.workers.storm_fleet import wait

CRASH_STEPS = ("begin", "write", "offsets", "count", "commit", "committed")


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
            wait(lambda n=name: fleet.logged(n, "started"), 15)
            arena.produce(share - share // 2)  # something to do, so that it comes to the step
            if wait(lambda n=name: fleet.running[n].poll() is not None, 15):
                report.kills += 1
                report.crashed_at[step] += 1
                begun = time.monotonic()
                fleet.start(name)
                if wait(lambda n=name: fleet.logged(n, " events="), 60):
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
                stop(fleet, each, report)
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
        wait(lambda b=before: arena.counted() > b, 60)
        arena.examine(report)
        restart_dead(fleet, names, report)


def _scale(arena: Arena, count: int, report: Report) -> None:
    """Let so many workers run, until they have counted something that came since."""
    fleet = arena.fleet
    for name in sorted(fleet.running)[count:]:
        stop(fleet, name, report)
    for i in range(count):
        if f"w{i}" not in fleet.running:
            fleet.start(f"w{i}")
    for name in fleet.running:
        wait(lambda n=name: fleet.logged(n, "started"), 15)
    before = arena.counted()
    arena.produce(100)
    wait(lambda: arena.counted() > before, 60)
