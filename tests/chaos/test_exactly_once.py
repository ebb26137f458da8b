"""Exactly once, proven by killing things. `make chaos` runs the long form."""

import os

import pytest

from deploy.local.services import start_kafka, start_redis
from tests.chaos.storm import Arena, Report, Storm, check, weather

SHORT = Storm()
LONG = Storm(
    events=20_000,
    kills=24,
    zombies=3,
    new_topics=3,
    rolling_restarts=2,
    broker_restarts=2,
    redis_freezes=2,
    settle_s=300,
)


def storms():
    if os.environ.get("OFFRAMP_CHAOS") == "long":
        return [LONG, Storm(seed=1), Storm(seed=2)]
    return [SHORT]


@pytest.mark.parametrize("storm", storms(), ids=lambda s: f"{s.events}-events-seed-{s.seed}")
def test_every_event_is_predicted_once_and_counted_once(storm, tmp_path, record_property):
    """Under kills at every step of a commit, freezes and new topics nothing is lost or doubled."""
    with start_kafka() as kafka, start_redis() as redis:
        arena = Arena(kafka.address, redis.url, tmp_path, storm)
        report = Report()
        try:
            weather(arena, report, kafka_server=kafka, redis_server=redis)
            check(arena, report)
        finally:
            arena.fleet.close()
        good = sum(arena.sent.values())
        record_property("report", repr(report))
        logs = "\n".join(arena.fleet.log(f"w{i}")[-3000:] for i in range(storm.workers))
        assert (report.twice, report.missing, report.disordered) == (0, 0, 0), (report, logs)
        assert report.predictions == report.counted == good, (report, logs)
        assert report.dead_letters == len(arena.sent) - good
        assert report.kills >= storm.kills
        assert report.crashed_at, report
