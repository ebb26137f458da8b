"""The worker under load while Redis is away, slow, full or failing over: it predicts on."""

import time

import pytest
import redis
from typer.testing import CliRunner

from consumer.cli.app import app
from deploy.local.services import start_redis
from policy_state.reports.domain import read_reports
from policy_state.store.redis.store import RedisStore
from tests.support.long_form import IS_LONG
from tests.support.policies.written import counters_of
from tests.support.servers.proxies import proxy
from tests.support.waiting import wait_for
from tests.support.workers.loaded import loaded, settle

OUTAGE_S = 20 if IS_LONG else 5
STALL_S = 4.0  # one timeout of 2 s, in the compute or the commit of a batch, and some air


@pytest.fixture
def server():
    with start_redis(args=("--repl-diskless-sync-delay", "0")) as started:
        yield started


def test_an_outage_under_load_stops_no_prediction(kafka, server, tmp_path):
    """While Redis is frozen predictions stall once, for a timeout; then all is counted."""
    with loaded(kafka, server.url, tmp_path) as (arena, load):
        begun = time.monotonic()
        server.pause()
        time.sleep(OUTAGE_S)
        stall_s = load.longest_stall_s(begun)
        server.resume()
        assert stall_s < STALL_S
        settle(arena, load)


def test_a_full_redis_stops_no_prediction(kafka, server, tmp_path):
    """With maxmemory reached nothing is counted, everything predicted; later all is counted."""
    with loaded(kafka, server.url, tmp_path) as (arena, load):
        with redis.Redis.from_url(server.url) as raw:
            raw.config_set("maxmemory", 1)
            begun, counted, predicted = time.monotonic(), arena.counted(), load.predictions
            time.sleep(4)
            assert arena.counted() == counted
            assert load.predictions > predicted + 100
            assert load.longest_stall_s(begun) < STALL_S
            raw.config_set("maxmemory", 0)
        settle(arena, load)
        log = arena.fleet.log("w0")
        assert "its maxmemory is reached" in log
        assert log.count("store is back") == 1, log[-3000:]  # when it takes counts, no sooner


def test_a_slow_way_to_redis_only_slows(kafka, server, tmp_path):
    """With 200 ms on the way every batch still comes out, and is counted at once."""
    with (
        proxy(server.port) as between,
        loaded(kafka, f"redis://127.0.0.1:{between.port}/0", tmp_path) as (arena, load),
    ):
        between.delay_s = 0.2
        begun, predicted = time.monotonic(), load.predictions
        time.sleep(4)
        assert load.predictions > predicted + 100
        assert load.longest_stall_s(begun) < STALL_S
        between.delay_s = 0.0
        settle(arena, load)
        assert "store is unreachable" not in arena.fleet.log("w0")


def test_an_emptied_redis_is_rebuilt_under_load(kafka, server, tmp_path):
    """FLUSHALL, a rebuild while texts come, and the counters are those of the predictions."""
    with loaded(kafka, server.url, tmp_path) as (arena, load):
        with redis.Redis.from_url(server.url) as raw:
            raw.flushall()
        wait_for(lambda: arena.counted() > 0)  # the worker has created the policy again
        rebuild(arena)
        load.stop()
        wait_for(lambda: len(arena.read(arena.out)) == len(arena.sent))
        rebuild(arena)  # what workers counted meanwhile in part
        settle(arena, load)
        expected = counters_of([record.value for record in arena.read(arena.out)], 3)
        with RedisStore(server.url) as store:
            read_reports(store, "default", domains=[])
            found = store.read(expected)
        assert {name: snapshot.stats for name, snapshot in found.items()} == expected


def test_what_a_failover_loses_is_shown_and_counted_again(kafka, server, tmp_path):
    """A replica takes over without the latest texts: the worker tells, and counts them anew."""
    replica_of = ("--replicaof", "127.0.0.1", str(server.port))
    with (
        start_redis(args=replica_of) as replica,
        proxy(server.port) as between,
        redis.Redis.from_url(server.url) as old,
        redis.Redis.from_url(replica.url) as new,
        loaded(kafka, f"redis://127.0.0.1:{between.port}/0", tmp_path) as (arena, load),
    ):
        wait_for(lambda: new.info("replication")["master_link_status"] == "up")
        wait_for(lambda: new.dbsize() == old.dbsize())
        replica.pause()
        old.execute_command("CLIENT", "KILL", "TYPE", "replica")
        time.sleep(2)  # what comes now, only the primary counts
        begun = time.monotonic()
        server.kill()
        replica.resume()
        new.execute_command("REPLICAOF", "NO", "ONE")
        between.target = replica.port
        wait_for(lambda: "gap source=" in arena.fleet.log("w0"))
        time.sleep(2)
        assert load.longest_stall_s(begun) < STALL_S
        load.stop()
        wait_for(lambda: len(arena.read(arena.out)) == len(arena.sent))
        wait_for(lambda: arena.counted() == len(arena.sent))
        assert gap_offsets(arena) > 0
        assert "repaired texts=" in arena.fleet.log("w0")
        settle(arena, load)


def gap_offsets(arena):
    """Return what the worker says of offsets left out."""
    with RedisStore(arena.redis_url) as store:
        return int(store.workers()["w0"]["gap_offsets"])


def rebuild(arena):
    """Run `offramp policy rebuild`; code 4 says that workers counted in part meanwhile."""
    words = ["policy", "rebuild", "--topic", arena.out, "--yes", "--reason", "a test"]
    result = CliRunner().invoke(app, words, env=arena.environ)
    assert result.exit_code in {0, 4}, (result.output, result.exception)
