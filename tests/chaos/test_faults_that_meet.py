"""Faults that meet: whatever is lost or cut, all is counted once within a minute of the last one.

`make chaos` runs the long form.
"""

import gc
import random
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import pytest

from consumer.kafka.topics import NewTopic, create_new_topics
from consumer.keeping.policy_topic import PolicyTopic
from consumer.settings.sections import KafkaSettings
from deploy.local.services import start_redis
from policy_state.reports.domain import read_reports
from policy_state.store.redis.store import RedisStore
from tests.chaos.mixed import ASIDE, FAULTS, REMADE, Weather
from tests.chaos.outcome import Report, stop
from tests.chaos.settling import Answers, offramp, other_client_agrees, wait_for_books
from tests.support.long_form import IS_LONG
from tests.support.servers.kafka_cluster import KafkaCluster
from tests.support.servers.proxies import Proxy
from tests.support.topics import create_topics
from tests.support.waiting import wait_for
from tests.support.workers.arena import Arena, Storm

SHORT = Storm(
    events=1_500,
    faults=("killed_with_texts", "emptied_with_texts", "made_anew_in_a_commit"),
    settle_s=60,
)
LONG = Storm(events=20_000, faults=4 * FAULTS, brokers=3, settle_s=60)
PINNED = "c"
FOUND = 4  # the exit code where there are problems


def storms():
    return [replace(LONG, seed=seed) for seed in range(3)] if IS_LONG else [SHORT]


@pytest.fixture(autouse=True)
def _swept():
    """Collect here the sockets that kafka-python leaves open where a connection fails."""
    yield
    gc.collect()


@contextmanager
def stage(storm, logs, **environ):
    """Yield the weather over workers that run, with a domain pinned, and all that was sent."""
    names = [f"w{i}" for i in range(storm.workers)]
    with ExitStack() as stack:
        server = stack.enter_context(start_redis())
        cluster = stack.enter_context(KafkaCluster(storm.brokers, doors=[*names, ASIDE]))
        to_redis = {name: Proxy(server.port) for name in (*names, ASIDE)}
        for door in to_redis.values():
            stack.callback(door.close)
        own = {
            name: {
                "OFFRAMP_REDIS__URL": f"redis://127.0.0.1:{door.port}/0",
                "OFFRAMP_KAFKA__BOOTSTRAP_SERVERS": ",".join(
                    f"127.0.0.1:{proxy.port}" for proxy in cluster.doors(name)
                ),
            }
            for name, door in to_redis.items()
        }
        arena = Arena(cluster.address, server.url, logs, storm, own=own)
        arena.environ.update({"OFFRAMP_WORKER__DRAIN_S": "6", **environ})
        stack.callback(arena.fleet.close)
        create_topics(cluster.address, {f"{arena.prefix}.in{REMADE}": 2})
        kept = NewTopic(arena.policy_topic, 1, configs={"cleanup.policy": "compact"})
        create_new_topics(KafkaSettings(bootstrap_servers=cluster.address), [kept])
        for name in names:
            arena.fleet.start(name)
        arena.produce(100)
        wait_for(lambda: arena.counted() > 0, 60)
        code, said = offramp(arena, "pin", PINNED, "--exit", "1", "--reason", "a test", "--yes")
        assert code == 0, said
        topic = PolicyTopic(
            KafkaSettings(
                bootstrap_servers=cluster.address,
                group=arena.prefix,
                policy_topic=arena.policy_topic,
            )
        )
        wait_for(lambda: ("domain", "default", PINNED) in topic.read(), 60)
        yield Weather(arena, cluster, server, to_redis, Report(), random.Random(storm.seed))


def run(storm, logs, **environ):
    """Return what came of a storm: the weather, after how long all was in order, and the books."""
    with stage(storm, logs, **environ) as weather:
        arena, report = weather.arena, weather.report
        answers = Answers(arena)
        before = wait_for_books(arena, answers, report, within_s=120)
        assert before[1].are_right, before
        weather.rage()
        settled_s, books, said = wait_for_books(arena, answers, report, within_s=storm.settle_s)
        with RedisStore(arena.redis_url) as store:
            read_reports(store, "default", domains=[])  # opens it
            pin = store.read([PINNED])[PINNED].pin
        agrees = other_client_agrees(arena, answers)
        answers.close()
        for name in list(arena.fleet.running):
            stop(arena.fleet, name, report)
        logs = "\n".join(arena.fleet.log(name)[-3000:] for name in weather.names)
    met = ", ".join(f"{what} {count}" for what, count in sorted(weather.met.items()))
    sys.stdout.write(
        f"\n{storm}\nmet: {met}\nkills: {report.kills}; frozen at: {dict(report.crashed_at)}\n"
        f"records sent {len(arena.sent)}, gone with their topic {len(arena.gone)}, aborted "
        f"{weather.aborted}\n{books}\nin order {settled_s:.1f} s after the last fault\n"
        f"ended by themselves: {report.unhealthy_exits}\n"
    )
    return weather, settled_s, books, (pin, agrees, said, report, books, logs)


@pytest.mark.parametrize("storm", storms(), ids=lambda s: f"{s.events}-events-seed-{s.seed}")
def test_all_is_counted_once_within_a_minute_of_the_last_fault(storm, tmp_path):
    """Nothing is lost, doubled or miscounted, nobody rebuilds, and the doctor told of each loss."""
    weather, settled_s, books, (pin, agrees, *told) = run(storm, tmp_path)
    assert books.are_right, told
    assert settled_s <= storm.settle_s, told
    assert pin == 1, told
    assert agrees, told
    assert weather.unseen_by_doctor == []
    assert weather.met["told by the doctor"] > 0, weather.met
    if IS_LONG:
        assert (+weather.met).keys() >= set(FAULTS), weather.met
    assert weather.report.hung == 0, told
    ours = ("consumer.errors.", "policy_state.errors.")
    ends = weather.report.unhealthy_exits
    assert all(any(name in said for name in ours) for said in ends), ends


@pytest.mark.skipif(not IS_LONG, reason="a test of the test, in `make chaos` only")
def test_where_workers_repair_nothing_the_same_storm_leaves_texts_uncounted(tmp_path):
    """A test of the test above: what dead workers held stays uncounted, and the doctor says so."""
    storm = replace(SHORT, settle_s=40)
    _, settled_s, books, (_, _, (code, said), *_) = run(
        storm, tmp_path, OFFRAMP_STORE__REPAIR_RECORDS="0"
    )
    assert books.uncounted > 0
    assert settled_s == float("inf")
    assert (books.lost, books.doubled, books.disordered) == (0, 0, 0)
    assert code == FOUND, said
