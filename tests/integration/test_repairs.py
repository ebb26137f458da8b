"""Texts that are predicted and not counted: a worker finds and counts them, or the doctor tells."""

import signal
import time

import pytest
import redis
from kafka import KafkaProducer
from typer.testing import CliRunner

from consumer.cli.app import app
from consumer.repairing import Repaired, repair
from consumer.settings import KafkaSettings
from deploy.local.services import start_redis
from policy_state.backends.redis import RedisStore
from policy_state.report import read_reports
from tests.chaos.storm import Arena, Storm
from tests.integration.test_stream import wait_for

FOUND = 4


@pytest.fixture
def server():
    with start_redis() as server:
        yield server


@pytest.fixture
def arena(kafka, server, tmp_path):
    arena = Arena(kafka, server.url, tmp_path, Storm(partitions=2, bad_share=0.0))
    arena.fleet.start("w0")
    arena.produce(200)
    wait_for(lambda: arena.counted() == 200)
    yield arena
    arena.fleet.close()


def doctor(arena, *args):
    """Return the exit code and what is said."""
    environ = arena.fleet._environ
    result = CliRunner().invoke(app, ["policy", "doctor", "-o", "json", *args], env=environ)
    return result.exit_code, result.output


def hold(arena, server, count):
    """Have texts predicted while Redis is away."""
    redis.Redis.from_url(server.url).save()
    server.kill()
    arena.produce(count)
    wait_for(lambda: len(arena.read(arena.out)) == 200 + count)


def test_what_a_killed_worker_held_is_counted_by_the_next(arena, server):
    """Kill -9 while Redis is away: the doctor tells until whoever starts has counted it."""
    hold(arena, server, 150)
    arena.fleet.kill("w0")
    server.restart()
    assert doctor(arena)[0] == FOUND
    arena.fleet.start("w0")
    wait_for(lambda: arena.counted() == 350)
    assert doctor(arena)[0] == 0
    arena.produce(50)
    wait_for(lambda: arena.counted() == 400)
    assert doctor(arena)[0] == 0


def test_a_worker_that_ends_with_texts_in_hand_says_what_mends_it(arena, server):
    """SIGTERM while Redis is away: another exit code, and a command after which all is counted."""
    arena.fleet.kill("w0")
    arena.fleet._environ["OFFRAMP_WORKER__DRAIN_S"] = "2"
    arena.fleet.start("w0")
    wait_for(lambda: arena.fleet.logged("w0", "reading partition"))
    hold(arena, server, 100)
    assert arena.fleet.stop("w0") not in {0, -signal.SIGTERM}
    assert "`offramp policy doctor --repair` counts them" in arena.fleet.log("w0")
    server.restart()
    code, said = doctor(arena)
    assert (code, "doctor --repair" in said) == (FOUND, True)
    assert arena.counted() == 200
    assert doctor(arena, "--repair")[0] == 0
    assert arena.counted() == 300
    assert doctor(arena, "--repair")[0] == 0
    assert arena.counted() == 300


def test_aborted_transactions_of_producers_are_no_gaps(arena):
    """However many a topic has: markers and aborted records are known to be no texts."""
    producer = KafkaProducer(
        bootstrap_servers=arena.kafka, transactional_id=arena.prefix, retry_backoff_ms=5
    )
    producer.init_transactions()
    for number in range(80):
        producer.begin_transaction()
        headers = [("domain", b"a")]
        producer.send(f"{arena.prefix}.in0", b'{"text": "x"}', headers=headers, partition=0)
        if number % 2:
            producer.commit_transaction()
        else:
            producer.abort_transaction()
        time.sleep(0.02)
    producer.close()
    wait_for(lambda: arena.counted() == 240)
    assert doctor(arena)[0] == 0
    with RedisStore(arena.redis_url) as store:
        read_reports(store, "default", domains=[])  # opens it
        assert [mark.gaps for mark in store.watermarks().values()] == [(), ()]
        assert store.workers()["w0"]["gap_offsets"] == "0"


def test_texts_whose_predictions_are_too_far_back_are_left_and_told(arena, server):
    """A repair counts all of a partition or nothing; what it does not reach stays a problem."""
    arena.fleet.stop("w0")
    redis.Redis.from_url(server.url).delete(*redis.Redis.from_url(server.url).keys("*:wm"))
    settings = KafkaSettings(bootstrap_servers=arena.kafka, group=arena.prefix)
    with RedisStore(arena.redis_url) as store:
        read_reports(store, "default", domains=[])  # opens it
        store.restart(by="anna", reason="")
        near = repair(settings, store, [arena.out], most_records=100)
        assert (near.counted, near.offsets, len(near.left)) == (0, 0, 2)
        assert len(repair(settings, store, []).left) == 2
        assert doctor(arena)[0] == FOUND
        assert repair(settings, store, [arena.out]) == Repaired(200, 200)
        assert repair(settings, store, [arena.out]) == Repaired()
    assert doctor(arena)[0] == 0
    assert arena.counted() == 200
