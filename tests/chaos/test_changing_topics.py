"""Topics that grow, move and are made anew under workers, and brokers that die; exactly once."""

import gc
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from random import Random

import pytest
from kafka import KafkaAdminClient

from deploy.local.services import start_kafka, start_redis
from tests.chaos.other_client import read_keys, write_transactions
from tests.chaos.outcome import Report, check
from tests.support.kafka_admin import make_anew
from tests.support.long_form import IS_LONG
from tests.support.servers.kafka_cluster import KafkaCluster
from tests.support.topics import create_topics
from tests.support.waiting import wait_for
from tests.support.workers.arena import Arena, Storm

EVENTS = 4_000 if IS_LONG else 400  # at each change


@contextmanager
def arena_on(kafka, logs, **storm):
    """Yield an arena with two workers; at its end all must be answered and counted once."""
    with start_redis() as server:
        arena = Arena(kafka, server.url, logs, Storm(workers=2, **storm))
        report = Report()
        try:
            for name in ("w0", "w1"):
                arena.fleet.start(name)
            arena.produce(EVENTS)
            all_counted(arena)
            yield arena
            check(arena, report)
        finally:
            arena.fleet.close()
    sys.stdout.write(f"\n{report.summary()}\n")
    ends = "\n".join(arena.fleet.log(name)[-3000:] for name in ("w0", "w1"))
    assert (report.twice, report.missing, report.disordered) == (0, 0, 0), (report, ends)
    assert report.predictions == report.counted == sum(arena.sent.values()), (report, ends)
    assert report.unhealthy_exits == [], (report, ends)
    assert report.problems == [], (report, ends)


@contextmanager
def under_load(arena, *, topic=0):
    """Have events come in meanwhile."""
    with ThreadPoolExecutor(1) as pool:
        written = pool.submit(arena.produce, EVENTS, topic=topic)
        yield
        written.result()


def all_counted(arena):
    """Wait until everything that was sent so far is counted."""
    good = sum(arena.sent.values())
    wait_for(lambda: arena.counted() >= good, 120)


def test_topics_that_grow_or_are_made_anew_cost_no_text(tmp_path):
    """Inputs, outputs and dead letters get partitions under load; an input is another at once."""
    with start_kafka() as server, arena_on(server.address, tmp_path, partitions=2) as arena:
        admin = KafkaAdminClient(bootstrap_servers=server.address)
        with under_load(arena):
            admin.create_partitions({f"{arena.prefix}.in0": 5})
        with under_load(arena):
            admin.create_partitions({arena.out: 7, arena.dead: 3})
        create_topics(server.address, {f"{arena.prefix}.in1": 1})
        for _ in range(3 if IS_LONG else 1):
            arena.produce(EVENTS // 4, topic=1)
            all_counted(arena)
            arena.fleet.signal("w0", signal.SIGSTOP)
            make_anew(admin, f"{arena.prefix}.in1")
            arena.produce(EVENTS, topic=1)
            arena.fleet.signal("w0", signal.SIGCONT)
            all_counted(arena)
        admin.close()


def test_what_another_client_writes_in_transactions_is_answered_as_it_committed_it(tmp_path):
    """Nothing of its aborted ones, also of a topic made anew; and it reads the same answers."""
    rng = Random(1)
    with start_kafka() as server, arena_on(server.address, tmp_path, partitions=3) as arena:
        create_topics(server.address, {f"{arena.prefix}.in1": 2})
        aborted = 0
        for topic in (0, 1, 1):
            aborted += write_transactions(arena, EVENTS, topic=topic, rng=rng)
            all_counted(arena)
            arena.fleet.signal("w1", signal.SIGSTOP)
            if topic:
                with KafkaAdminClient(bootstrap_servers=server.address) as admin:
                    make_anew(admin, f"{arena.prefix}.in1", partitions=2)
            aborted += write_transactions(arena, EVENTS, topic=topic, rng=rng)
            arena.fleet.signal("w1", signal.SIGCONT)
            all_counted(arena)
        assert aborted > EVENTS
        keys = read_keys(server.address, arena.out)
        assert sorted(keys) == sorted(key for key, good in arena.sent.items() if good)


@pytest.fixture
def _swept():
    """Collect here the sockets that kafka-python leaves open where a broker dies."""
    yield
    gc.collect()


@pytest.mark.usefixtures("_swept")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.skipif(not IS_LONG, reason="three brokers for minutes; `make chaos` runs it")
def test_of_three_brokers_any_may_go_and_any_may_lead(tmp_path):
    """Leaders move, brokers are killed, frozen and restarted, topics grow and are made anew."""
    with KafkaCluster() as cluster, arena_on(cluster.address, tmp_path, partitions=6) as arena:
        topics = [f"{arena.prefix}.in0", arena.out, arena.dead, "__consumer_offsets"]
        for topic in [*topics, "__transaction_state"]:
            with under_load(arena):
                cluster.move_leaders(topic)
                time.sleep(1)
        for number in (1, 2, 3):
            node = cluster.nodes[number - 1]
            with under_load(arena):
                node.kill()
                time.sleep(5)
                node.restart()
            with under_load(arena):
                node.pause()
                time.sleep(5)
                node.resume()
            all_counted(arena)
        with under_load(arena):
            cluster.admin.create_partitions({topics[0]: 9, arena.out: 8})
        create_topics(cluster.address, {f"{arena.prefix}.in1": 3})
        for _ in range(3):
            arena.produce(EVENTS // 4, topic=1)
            all_counted(arena)
            make_anew(cluster.admin, f"{arena.prefix}.in1", partitions=3, copies=3)
            arena.produce(EVENTS, topic=1)
            all_counted(arena)
