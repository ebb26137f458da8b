"""Exactly once, proven by killing things. `make chaos` runs the long form."""

import sys
import threading
from contextlib import contextmanager, nullcontext
from dataclasses import replace

import pytest
import redis

from deploy.local.services import start_kafka, start_redis
from tests.chaos.outcome import Report, check
from tests.chaos.storm import CRASH_STEPS, weather
from tests.support.long_form import IS_LONG
from tests.support.workers.arena import Arena, Storm

SHORT = Storm()
LONG = Storm(
    events=20_000,
    kills=24,
    zombies=3,
    new_topics=3,
    rolling_restarts=2,
    scalings=1,
    broker_restarts=2,
    redis_freezes=2,
    settle_s=300,
)


def storms():
    return [replace(LONG, seed=seed) for seed in range(3)] if IS_LONG else [SHORT]


def run(storm, logs, *, meanwhile=None):
    """Run a storm and return the arena, what came of it, and the ends of the workers' logs."""
    with start_kafka() as kafka, start_redis() as server:
        arena = Arena(kafka.address, server.url, logs, storm)
        report = Report()
        try:
            with meanwhile(server.url) if meanwhile else nullcontext():
                weather(arena, report, kafka_server=kafka, redis_server=server)
                check(arena, report)
        finally:
            arena.fleet.close()
    ends = "\n".join(arena.fleet.log(f"w{i}")[-3000:] for i in range(storm.workers))
    return arena, report, ends


@contextmanager
def denying(redis_url):
    """Say again and again that nothing below the watermarks was counted: all of it is a gap."""
    stop = threading.Event()

    def deny():
        with redis.Redis.from_url(redis_url, decode_responses=True) as client:
            while not stop.wait(0.01):
                for key in client.scan_iter("offramp:*:wm"):
                    gaps = {field: f"0-{upto}" for field, upto in client.hgetall(key).items()}
                    if gaps:
                        client.hset(key.removesuffix("wm") + "gaps", mapping=gaps)

    thread = threading.Thread(target=deny)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("storm", storms(), ids=lambda s: f"{s.events}-events-seed-{s.seed}")
def test_every_event_is_predicted_once_and_counted_once(storm, tmp_path):
    """Under kills at every step of a commit, freezes and new topics nothing is lost or doubled."""
    arena, report, logs = run(storm, tmp_path)
    good = sum(arena.sent.values())
    sys.stdout.write(f"\n{storm}\n{report.summary()}\n")  # shown by `make chaos`
    assert (report.twice, report.missing, report.disordered) == (0, 0, 0), (report, logs)
    assert report.predictions == report.counted == good, (report, logs)
    assert report.dead_letters == len(arena.sent) - good
    assert report.kills >= (30 if IS_LONG else storm.kills)
    if IS_LONG:
        assert report.crashed_at.keys() == set(CRASH_STEPS), report
    assert report.crashed_at.total() >= storm.kills // 3, report
    assert report.hung == 0, (report, logs)
    ours = ("consumer.errors.", "policy_state.errors.")  # such as that another has its name
    assert all(any(name in said for name in ours) for said in report.unhealthy_exits), report
    assert report.problems == [], report
    assert report.examinations > storm.kills // 2, report


@pytest.mark.skipif(not IS_LONG, reason="`make chaos` runs it")
def test_a_gate_changes_nothing_of_that(tmp_path):
    """Texts that stop sooner are predicted once and counted once under the same blows."""
    storm = replace(LONG, seed=3, gate=0.99)
    arena, report, logs = run(storm, tmp_path)
    good = sum(arena.sent.values())
    sys.stdout.write(f"\n{storm}\n{report.summary()}\n")
    assert (report.twice, report.missing, report.disordered) == (0, 0, 0), (report, logs)
    assert report.predictions == report.counted == good, (report, logs)
    assert report.gated > good / 10, (report, logs)
    assert (report.hung, report.problems) == (0, []), (report, logs)


@pytest.mark.skipif(not IS_LONG, reason="a test of the test, in `make chaos` only")
def test_where_nothing_is_held_for_counted_the_same_storm_counts_twice(tmp_path):
    """A test of the test above: texts that come again are counted again, predictions are not."""
    arena, report, logs = run(SHORT, tmp_path, meanwhile=denying)
    good = sum(arena.sent.values())
    assert (report.twice, report.missing) == (0, 0), (report, logs)
    assert report.counted > report.predictions == good, (report, logs)
