"""The worker under load while Redis is away, slow, full or failing over: it predicts on."""

import threading
import time
from contextlib import contextmanager
from itertools import pairwise

import orjson
import pytest
import redis
from typer.testing import CliRunner

from consumer.cli.app import app
from consumer.learning.prediction_log import kafka_state
from consumer.settings.sections import KafkaSettings
from deploy.local.process import wait_until
from deploy.local.services import start_redis
from policy_state.health.doctor import examine
from policy_state.reports.domain import read_reports
from policy_state.stats import ExitStats
from policy_state.store.redis.store import RedisStore
from tests.chaos.storm import Arena, Storm
from tests.support.kafka_records import committed_reader
from tests.support.long_form import IS_LONG
from tests.support.servers.proxies import proxy

OUTAGE_S = 20 if IS_LONG else 5
STALL_S = 4.0  # one timeout of 2 s, in the compute or the commit of a batch, and some air


@pytest.fixture
def server():
    with start_redis(args=("--repl-diskless-sync-delay", "0")) as started:
        yield started


class Load:
    """Texts that keep coming, and when their predictions came out."""

    def __init__(self, arena):
        self._arena = arena
        self._stop = threading.Event()
        self.arrivals = [time.monotonic()]
        self.predictions = 0
        self._threads = [threading.Thread(target=t) for t in (self._produce, self._watch)]

    def _produce(self):
        while not self._stop.wait(0.1):
            self._arena.produce(20)

    def _watch(self):
        consumer = committed_reader(self._arena.kafka, self._arena.out)
        while not self._stop.is_set():
            if found := sum(map(len, consumer.poll(timeout_ms=100).values())):
                self.arrivals.append(time.monotonic())
                self.predictions += found
        consumer.close()

    def longest_stall_s(self, since):
        """Return the longest time without a prediction since then, until now."""
        times = [since, *(t for t in self.arrivals if t > since), time.monotonic()]
        return max(b - a for a, b in pairwise(times))

    def start(self):
        """Let texts come."""
        for thread in self._threads:
            thread.start()

    def stop(self):
        """Let no more come; may be called again."""
        self._stop.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()


@contextmanager
def fleet(kafka, redis_url, tmp_path):
    """Yield an arena in which one worker runs, and its load."""
    arena = Arena(kafka, redis_url, tmp_path, Storm(partitions=2, bad_share=0.0))
    load = Load(arena)
    arena.fleet.start("w0")
    try:
        arena.produce(100)
        wait_until(lambda: arena.counted() == 100, timeout_s=60, what="the worker")
        load.start()
        wait_until(lambda: load.predictions > 200, timeout_s=30, what="the load")
        yield arena, load
    finally:
        load.stop()
        arena.fleet.close()


def settle(arena, load):
    """End the load; every text is counted and predicted, each once, and the worker lives."""
    load.stop()
    log = arena.fleet.log("w0")[-3000:]
    assert wait_for(lambda: arena.counted() == len(arena.sent)), (arena.counted(), log)
    assert sorted(r.key for r in arena.read(arena.out)) == sorted(map(str.encode, arena.sent))
    assert arena.fleet.running["w0"].poll() is None
    assert doctor(arena) == []


def wait_for(condition, timeout_s=60):
    """Return whether a condition becomes true in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


def doctor(arena):
    """Return what the doctor finds."""
    with RedisStore(arena.redis_url) as store:
        read_reports(store, "default", domains=[])  # opens it
        kafka = kafka_state(KafkaSettings(bootstrap_servers=arena.kafka, group=arena.prefix))
        examination = examine(store, logs=kafka.logs, committed=kafka.committed)
        return [(f.check, f.text) for f in examination.findings]


def test_an_outage_under_load_stops_no_prediction(kafka, server, tmp_path):
    """While Redis is frozen predictions stall once, for a timeout; then all is counted."""
    with fleet(kafka, server.url, tmp_path) as (arena, load):
        begun = time.monotonic()
        server.pause()
        time.sleep(OUTAGE_S)
        stall_s = load.longest_stall_s(begun)
        server.resume()
        assert stall_s < STALL_S
        settle(arena, load)


def test_a_full_redis_stops_no_prediction(kafka, server, tmp_path):
    """With maxmemory reached nothing is counted, everything predicted; later all is counted."""
    with fleet(kafka, server.url, tmp_path) as (arena, load):
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
        fleet(kafka, f"redis://127.0.0.1:{between.port}/0", tmp_path) as (arena, load),
    ):
        between.delay_s = 0.2
        begun, predicted = time.monotonic(), load.predictions
        time.sleep(4)
        assert load.predictions > predicted + 100
        assert load.longest_stall_s(begun) < STALL_S
        between.delay_s = 0.0
        settle(arena, load)
        assert "store is away" not in arena.fleet.log("w0")


def test_an_emptied_redis_is_rebuilt_under_load(kafka, server, tmp_path):
    """FLUSHALL, a rebuild while texts come, and the counters are those of the predictions."""
    with fleet(kafka, server.url, tmp_path) as (arena, load):
        with redis.Redis.from_url(server.url) as raw:
            raw.flushall()
        assert wait_for(lambda: arena.counted() > 0)  # the worker has created the policy again
        rebuild(arena)
        load.stop()
        assert wait_for(lambda: len(arena.read(arena.out)) == len(arena.sent))
        rebuild(arena)  # what workers counted meanwhile in part
        settle(arena, load)
        expected = {}
        for record in arena.read(arena.out):
            body = orjson.loads(record.value)
            one = ExitStats.from_labels(body["exit_labels"], exits=3)
            expected[body["domain"]] = expected.get(body["domain"], ExitStats.zeros(3)) + one
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
        fleet(kafka, f"redis://127.0.0.1:{between.port}/0", tmp_path) as (arena, load),
    ):
        assert wait_for(lambda: new.info("replication")["master_link_status"] == "up")
        assert wait_for(lambda: new.dbsize() == old.dbsize())
        replica.pause()
        old.execute_command("CLIENT", "KILL", "TYPE", "replica")
        time.sleep(2)  # what comes now, only the primary counts
        begun = time.monotonic()
        server.kill()
        replica.resume()
        new.execute_command("REPLICAOF", "NO", "ONE")
        between.target = replica.port
        assert wait_for(lambda: "gap source=" in arena.fleet.log("w0"))
        time.sleep(2)
        assert load.longest_stall_s(begun) < STALL_S
        load.stop()
        assert wait_for(lambda: len(arena.read(arena.out)) == len(arena.sent))
        assert wait_for(lambda: arena.counted() == len(arena.sent))
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
