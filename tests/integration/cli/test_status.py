"""`offramp status` as somebody runs it who was woken, on a real Kafka and Redis."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack

import orjson
import pytest
import yaml
from kafka import KafkaProducer

from benchmarks.free_model import FreeModel
from deploy.local.services import local_services
from policy_state.stats import ExitStats
from policy_state.store.admin import Freeze, Pin, Reset
from policy_state.store.redis.store import RedisStore
from policy_state.store.values import DomainSnapshot, PolicyMeta
from tests.support.topics import create_topics
from tests.support.waiting import wait_for

MODEL = (FreeModel.fingerprint, FreeModel().config.exit_layers)


class Group:
    """Topics, a route and the settings of one group."""

    def __init__(self, kafka, redis_url, logs, stack):
        self.name = f"st{time.time_ns()}"
        self.kafka, self.redis_url, self.logs, self.stack = kafka, redis_url, logs, stack
        self.out, self.dead = f"{self.name}-out", f"{self.name}-dead"
        create_topics(
            kafka,
            {f"{self.name}.films": 2, self.out: 2, self.dead: 1, f"{self.name}-policy": 1},
        )
        self.environ = {
            **{k: v for k, v in os.environ.items() if k != "COLUMNS"},
            "OFFRAMP_KAFKA__BOOTSTRAP_SERVERS": kafka,
            "OFFRAMP_KAFKA__GROUP": self.name,
            "OFFRAMP_KAFKA__DEAD_LETTERS": self.dead,
            "OFFRAMP_KAFKA__POLICY_TOPIC": f"{self.name}-policy",
            "OFFRAMP_KAFKA__METADATA_MAX_AGE_S": "300",
            "OFFRAMP_KAFKA__SESSION_TIMEOUT_S": "60",  # so that Kafka knows those that were killed
            "OFFRAMP_REDIS__URL": redis_url,
            "OMP_NUM_THREADS": "1",
        }
        self.run(
            *("route", "add", rf"{self.name}\.(?P<domain>.+)", "--name", "films"),
            *("--to", self.out, "--yes"),
        )
        self.run("route", "remove", "texts", "--yes")

    def run(self, *args, code=0, **more):
        """Run a command in a process; its output is a pipe, as of a script."""
        done = subprocess.run(
            [sys.executable, "-m", "consumer", *args],
            env={**self.environ, **more},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert code in (None, done.returncode), (done.stdout, done.stderr)
        return done

    def status(self, code=None, **more):
        """Return what programs get."""
        done = self.run("status", "-o", "json", code=code, **more)
        assert done.returncode in {0, 4}, done.stderr
        return json.loads(done.stdout)

    def start(self, name):
        """Start a worker with a model of a few lines."""
        log = self.stack.enter_context((self.logs / f"{name}.log").open("ab"))
        module = "tests.support.workers.crashing_worker"
        process = subprocess.Popen(
            [sys.executable, "-m", module],
            env={**self.environ, "OFFRAMP_INSTANCE": name},
            stdout=log,
            stderr=log,
        )
        self.stack.callback(process.wait)
        self.stack.callback(process.kill)
        return process

    def send(self, topic, *values, **more):
        with KafkaProducer(bootstrap_servers=self.kafka, acks="all") as producer:
            for value in values:
                producer.send(topic, value, **more)

    def wait_until_well(self):
        return wait_for(lambda: (found := self.status())["well"] and not found["lag"] and found)


@pytest.fixture(scope="module")
def kafka():
    """Return the broker of this file: what a status says covers all topics of a broker."""
    with local_services(redis=False) as services:
        yield services.kafka


@pytest.fixture
def group(kafka, redis_url, tmp_path):
    with ExitStack() as stack:
        yield Group(kafka, redis_url, tmp_path, stack)


@pytest.fixture
def nobody():
    """Return the address of a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def needs(found):
    """Return what needs a person: the check, and the text."""
    return [(f["check"], f["text"]) for f in found["findings"] if f["severity"] == "problem"]


def notes(found):
    return [f["text"] for f in found["findings"] if f["severity"] == "note"]


def texts(count):
    return [orjson.dumps({"id": str(i), "text": "good film ."}) for i in range(count)]


def test_all_is_well_until_the_worker_is_killed(group):
    """The first line says so in plain words; a killed worker is named, with what it holds."""
    worker = group.start("w1")
    group.send(f"{group.name}.films", *texts(60))
    found = group.wait_until_well()
    assert (found["kind"], found["lag"], found["backlog_s"], needs(found)) == ("status", 0, 0, [])
    (row,) = found["workers"]
    assert (row["instance"], row["partitions"], row["shows_itself"]) == ("w1", 2, True)
    wait_for(lambda: group.status()["workers"][0]["texts_per_s"])  # with the next heartbeat
    assert found["domains"]["default"]["domains"] == 1
    shown = group.run("status", code=0).stdout
    assert shown.splitlines()[0] == "All is well: 1 worker, 1 domain, nothing waiting."
    assert max(map(len, shown.splitlines())) <= 80
    assert yaml.safe_load(group.run("status", "-o", "yaml").stdout)["well"] is True

    worker.send_signal(signal.SIGKILL)
    worker.wait()
    found = wait_for(lambda: (found := group.status()) and not found["well"] and found)
    (gone,) = [text for _, text in needs(found) if "w1" in text]
    assert "was killed, hangs, or cannot reach Redis" in gone
    assert "2 partitions" in gone
    shown = group.run("status", code=4).stdout
    assert shown.startswith("2 things need you:\n")
    assert f"offramp worker --group {group.name}" in shown


def test_topics_and_routes_that_do_not_meet(group):
    """A route with partitions that nobody reads needs a person; a topic without a route is told."""
    group.start("w1")
    group.send(f"{group.name}.films", *texts(3))
    group.wait_until_well()
    create_topics(group.kafka, {f"{group.name}.news": 3, f"{group.name}_typo": 1})
    found = group.status(code=4)  # the worker asks for new topics every five minutes
    unread = f"route films has no reader for 3 partitions of {group.name}.news"
    assert needs(found) == [("routes", unread)]
    assert any(f"{group.name}_typo" in text for text in notes(found))
    group.run("route", "add", "nothing.+", "--name", "idle", "--to", group.out, "--yes")
    wait_for(lambda: "route idle matches no topic" in notes(group.status()))


def test_what_is_down_is_a_finding_and_the_rest_is_shown(group, nobody):
    """Redis or Kafka may be down when this is run: it says so, and shows what the other knows."""
    group.start("w1")
    group.send(f"{group.name}.films", *texts(3))
    group.wait_until_well()
    found = group.status(code=4, OFFRAMP_REDIS__URL=f"redis://{nobody}")
    ((check, text),) = needs(found)
    assert check == "redis"
    assert "workers continue to predict" in text
    assert ([w["instance"] for w in found["workers"]], found["lag"]) == (["w1"], 0)
    found = group.status(code=4, OFFRAMP_KAFKA__BOOTSTRAP_SERVERS=nobody)
    ((check, _),) = needs(found)
    assert (check, found["lag"], found["backlog_s"]) == ("kafka", None, None)
    assert [w["instance"] for w in found["workers"]] == ["w1"]
    both = {"OFFRAMP_KAFKA__BOOTSTRAP_SERVERS": nobody, "OFFRAMP_REDIS__URL": f"redis://{nobody}"}
    shown = group.run("status", code=4, **both).stdout
    assert shown.startswith("2 things need you:\n")
    assert "Redis         unreachable" in shown
    assert "Kafka         unreachable" in shown


def test_dead_letters_of_the_last_hour(group):
    """Those of the last hour need a person, by class; older ones do not."""
    group.start("w1")
    headers = [("offramp.error.class", b"invalid-json")]
    long_ago_ms = int((time.time() - 2 * 3600) * 1000)
    group.send(group.dead, b"old", headers=headers, timestamp_ms=long_ago_ms)
    group.send(f"{group.name}.films", *texts(3))
    assert group.wait_until_well()["dead_letters"] == {"classes": {}, "more": False}
    group.send(f"{group.name}.films", b"{", b"{", b'{"text": ""}')
    found = wait_for(
        lambda: (found := group.status())["dead_letters"]["classes"].get("empty-text") and found
    )
    assert found["dead_letters"]["classes"] == {"invalid-json": 2, "empty-text": 1}
    assert needs(found) == [
        ("dead letters", "3 dead letters in the last hour: 2 invalid-json, 1 empty-text")
    ]


def test_records_that_wait_are_told_as_a_time(group):
    """Without a worker what waits has no time; nobody who could read it is the first finding."""
    group.send(f"{group.name}.films", *texts(7))
    found = group.status(code=4)
    assert (found["lag"], found["backlog_s"], found["workers"]) == (7, None, [])
    ((check, text),) = needs(found)
    assert (check, text) == ("workers", f"no worker of group {group.name} shows itself in Redis")


def test_domains_are_counted_by_state_and_hostile_names_are_harmless(group):
    """Each state has its number; no name gets an escape sequence or a line of its own through."""
    group.start("w1")
    group.send(f"{group.name}.films", *texts(3))
    group.wait_until_well()
    escape = "a\u00ad\u200b[31m\U000e0041"
    same = ExitStats.from_texts([(0, 1, 1), (1, 1, 1), (0, 0, 0)] * 300, exits=3)
    names = ["settled", "pinned", "frozen", "drifted", escape]
    with RedisStore(group.redis_url) as store:
        store.open(PolicyMeta("default", *MODEL))
        store.load({name: DomainSnapshot(same, 0, 1) for name in names}, replace=True)
        for name, change in (
            *(("pinned", Pin(2)), (escape, Pin(1)), ("frozen", Freeze())),
            ("drifted", Reset()),
        ):
            store.change(name, change, by="anna", reason="\x1b[2J", automatic=name == "drifted")
        shown = group.run("status", code=0).stdout
        states = group.status()["domains"]["default"]
    assert (states["domains"], states["pinned"], states["frozen"]) == (6, 2, 1)
    assert (states["drifted"], states["settled"], states["learning"]) == (1, 1, 1)
    assert all(c.isprintable() or c == "\n" for c in shown)
    assert "1 frozen (frozen)" in " ".join(shown.split())


def test_a_worker_may_say_anything_in_its_heartbeat(group):
    """What stands there comes from outside: nothing of it moves the cursor or ends the command."""
    with RedisStore(group.redis_url) as store:
        evil = {"group": group.name, "partitions": "x", "texts_per_s": "nan", "policy": "\x1b[2J"}
        evil |= {"stands_still": "\x1b]0;owned\x07\r\nAll is well", "last_commit_s": "1e999"}
        store.heartbeat("w1", evil, ttl_s=60)
        shown = group.run("status", code=4).stdout
    assert all(c.isprintable() or c == "\n" for c in shown)
    assert "All is well" not in [line.strip() for line in shown.splitlines()]
