"""Workers, a broker and a Redis on hosts of their own, which lose each other; exactly once."""

import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from random import Random
from threading import Event, Thread

import pytest
from kafka import KafkaAdminClient, OffsetSpec, TopicPartition

from deploy.local.services import start_redis
from tests.chaos.outcome import Report, check, restart_dead
from tests.support.long_form import IS_LONG
from tests.support.servers.network import HostedKafka, may_make_hosts, network
from tests.support.waiting import wait_for
from tests.support.workers.arena import Arena, Storm
from tests.support.workers.storm_fleet import Fleet

WORKERS = ["w0", "w1", "w2"]
ROUNDS = 3
SETTLED_S = 120.0
pytestmark = [
    pytest.mark.skipif(not IS_LONG, reason="minutes of cut cables; `make chaos` runs it"),
    pytest.mark.skipif(not may_make_hosts(), reason="the kernel does not let us make networks"),
]


class Hosted(Fleet):
    """Workers that start on hosts of their own."""

    def __init__(self, environ, logs, hosts):
        super().__init__(environ, logs)
        self._hosts = hosts

    def start(self, name, **options):
        """Start a worker on its host."""
        with self._hosts[name].entered():
            super().start(name, **options)


@dataclass
class Course:
    """What the cuts did, in seconds."""

    cuts: Counter[str] = field(default_factory=Counter)
    taken_over: list[float] = field(
        default_factory=list
    )  # from a cut until others have committed what came
    healed: list[float] = field(default_factory=list)  # from the repair until all is counted

    def summary(self):
        """Return the figures, a line each."""
        cuts = ", ".join(f"{name} {count}" for name, count in sorted(self.cuts.items()))
        lines = {
            "cuts": cuts,
            "from the loss of a worker until others had committed what came for it (s)": _spread(
                self.taken_over
            ),
            "from a repair until all that had come was counted (s)": _spread(self.healed),
        }
        return "\n".join(f"{name}: {value}" for name, value in lines.items())


def _spread(seconds):
    return f"median {sorted(seconds)[len(seconds) // 2]:.1f}, longest {max(seconds):.1f}"


class Load:
    """Texts that keep coming, written by the test."""

    def __init__(self, arena):
        self._arena = arena
        self._over = Event()
        self._thread = Thread(target=self._write)
        self._thread.start()

    def _write(self):
        while not self._over.wait(0.2):
            self._arena.produce(40)

    def end(self):
        """Let no more come, and return when all is written."""
        self._over.set()
        self._thread.join()


def all_counted(arena, since):
    """Wait until all that is sent by now is counted; return how long ago `since` is then."""
    good = sum(arena.sent.values())
    wait_for(lambda: arena.counted() >= good, SETTLED_S)
    return time.monotonic() - since


def wait_until_shared(arena):
    """Wait until each worker holds partitions, so that the loss of any of them is one."""
    with KafkaAdminClient(bootstrap_servers=arena.kafka) as admin:

        def all_hold():
            members = admin.describe_groups([arena.prefix])[arena.prefix]["members"]
            shares = [member["member_assignment"] or {} for member in members]
            return len(shares) == len(WORKERS) and all(
                share.get("assigned_partitions") for share in shares
            )

        wait_for(all_hold)


def others_take_over(arena, since):
    """Wait until what came for each partition since a worker was lost is committed, by others.

    Counters in all do not tell: those of other partitions grow meanwhile.
    """
    time.sleep(2)
    topic = f"{arena.prefix}.in0"
    with KafkaAdminClient(bootstrap_servers=arena.kafka) as admin:
        numbers = range(arena.storm.partitions)
        ends = admin.list_partition_offsets(
            dict.fromkeys((TopicPartition(topic, n) for n in numbers), OffsetSpec.LATEST)
        )

        def reached():
            found = admin.list_group_offsets([arena.prefix])[arena.prefix]
            return all(found[tp].offset >= end.offset for tp, end in ends.items())

        wait_for(reached, SETTLED_S)
    return time.monotonic() - since


def lose_worker(arena, hosts, name, course):
    """A worker is cut off from everything; the others take its partitions while it is."""
    hosts[name].cut()
    begun = time.monotonic()
    course.taken_over.append(others_take_over(arena, begun))
    hosts[name].heal()


def lose_and_kill(arena, hosts, name, course):
    """The same, and it dies before the cable is back."""
    hosts[name].cut()
    begun = time.monotonic()
    arena.fleet.kill(name)
    course.taken_over.append(others_take_over(arena, begun))
    hosts[name].heal()


def lose_redis_from_one(arena, hosts, name, course):
    """One worker does not reach Redis, and holds what it learns."""
    hosts[name].cut_from(hosts["redis"])
    time.sleep(10)
    hosts[name].heal_to(hosts["redis"])


def lose_kafka_from_one(arena, hosts, name, course):
    """One worker does not reach Kafka, and may reach Redis."""
    hosts[name].cut_from(hosts["broker"])
    begun = time.monotonic()
    course.taken_over.append(others_take_over(arena, begun))
    hosts[name].heal_to(hosts["broker"])


def lose_redis(arena, hosts, name, course):
    """The host of Redis is cut off."""
    hosts["redis"].cut()
    time.sleep(10)
    hosts["redis"].heal()


def lose_broker(arena, hosts, name, course):
    """The host of the broker is cut off."""
    hosts["broker"].cut()
    time.sleep(8)
    hosts["broker"].heal()


BLOWS = [
    lose_worker,
    lose_and_kill,
    lose_redis_from_one,
    lose_kafka_from_one,
    lose_redis,
    lose_broker,
]


def test_hosts_that_lose_each_other_cost_no_text_and_double_none(tmp_path):
    """Each host is cut off and comes back, under load; all is answered and counted once."""
    rng, report, course = Random(1), Report(), Course()
    with network(["broker", "redis", *WORKERS]) as hosts:
        with hosts["broker"].entered():
            broker = HostedKafka(hosts["broker"])
            broker.start()
        with hosts["redis"].entered():
            redis = start_redis(
                args=("--bind", "127.0.0.1", hosts["redis"].address, "--protected-mode", "no")
            )
        url = f"redis://{hosts['redis'].address}:{redis.port}/0"
        with broker, redis:
            arena = Arena(broker.shared_address, url, tmp_path, Storm(partitions=6, settle_s=300))
            arena.fleet = Hosted(arena.environ, tmp_path, hosts)
            try:
                for name in WORKERS:
                    arena.fleet.start(name)
                arena.produce(200)
                all_counted(arena, 0)
                blows = BLOWS * ROUNDS
                rng.shuffle(blows)
                for blow in blows:
                    wait_until_shared(arena)
                    load = Load(arena)
                    try:
                        time.sleep(2)
                        blow(arena, hosts, rng.choice(WORKERS), course)
                        healed = time.monotonic()
                    finally:
                        load.end()
                    course.cuts[blow.__name__] += 1
                    restart_dead(arena.fleet, WORKERS, report)
                    course.healed.append(all_counted(arena, healed))
                    arena.examine(report)
                check(arena, report)
            finally:
                arena.fleet.close()
    sys.stdout.write(f"\n{course.summary()}\n{report.summary()}\n")
    ends = "\n".join(arena.fleet.log(name)[-3000:] for name in WORKERS)
    assert (report.twice, report.missing, report.disordered) == (0, 0, 0), (report, ends)
    assert report.predictions == report.counted == sum(arena.sent.values()), (report, ends)
    assert (report.hung, report.problems) == (0, []), (report, ends)
