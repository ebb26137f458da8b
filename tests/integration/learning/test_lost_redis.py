"""Redis loses everything: what people had set comes back from Kafka, and nothing is guessed."""

import subprocess
import sys

import orjson
import pytest
import redis
from typer.testing import CliRunner

from consumer.cli.app import app
from consumer.keeping.policy_topic import PolicyTopic
from consumer.settings.sections import KafkaSettings
from policy_state.reports.domain import read_reports
from policy_state.store.redis.store import RedisStore
from tests.support.topics import create_topics
from tests.support.workers.routed_fleet import RoutedFleet

SECONDS = 60


class Kept(RoutedFleet):
    """A fleet with a route of its own, whose topic another fleet's route would not read."""

    def __init__(self, *args) -> None:
        super().__init__(*args)
        self.texts = f"{self.name}.films"
        self.policy_topic = f"{self.name}-policy"
        self.environ["OFFRAMP_KAFKA__POLICY_TOPIC"] = self.policy_topic
        self.environ["OFFRAMP_POLICY__HOLDOUT"] = "0"  # all texts of a pinned domain stop there
        create_topics(self.kafka, {self.texts: 2})
        pattern = rf"{self.name}\.(?P<domain>.+)"
        self.offramp("route", "add", pattern, "--name", "mine", "--to", self.out, "--yes")
        self.offramp("route", "remove", "texts", "--yes")

    def run(self, *args: str):
        """Run a command in this process, which saves the seconds of a start."""
        environ = {k: v for k, v in self.environ.items() if k.startswith("OFFRAMP_")}
        return CliRunner().invoke(app, [*args], env=environ | {"COLUMNS": "250"})

    def offramp(self, *args: str):
        """Return what a command prints."""
        done = self.run(*args, "-o", "json")
        assert done.exit_code == 0, (done.output, done.exception)
        return orjson.loads(done.stdout)

    def kept(self):
        """Return what the policy topic has."""
        settings = KafkaSettings(
            bootstrap_servers=self.kafka, group=self.name, policy_topic=self.policy_topic
        )
        return PolicyTopic(settings).read()

    def ends_by_itself(self, name: str) -> str:
        """Start a worker that cannot run, and return its last line."""
        done = subprocess.run(
            [sys.executable, "-m", "consumer", "worker", "--instance", name],
            env=self.environ,
            capture_output=True,
            timeout=2 * SECONDS,
            check=False,
        )
        assert done.returncode == 1, done.stderr.decode()
        return done.stderr.decode().splitlines()[-1]

    def said(self):
        """Return all that people have set, as the commands show it."""
        routes = self.offramp("route", "list")["routes"]
        shown = self.offramp("policy", "show", "films")
        audit = [c for c in self.offramp("policy", "audit")["changes"] if c["action"][:2] != "re"]
        changes = self.offramp("route", "history")["changes"]
        history = [c for c in changes if c["action"] != "restore"]
        with RedisStore(self.redis_url) as store:
            meta = store.find("default")
            assert meta is not None
            store.open(meta)
            books = store.read(["books"])["books"]
        return routes, shown["pin"], audit, history, meta, books

    def set_all(self) -> None:
        """Let people set one thing of each kind."""
        self.offramp("pin", "films", "--exit", "1", "--reason", "a test", "--yes")
        self.offramp("policy", "freeze", "books", "--reason", "a test", "--yes")
        self.offramp("policy", "set", "alpha=0.7", "--reason", "a test", "--yes")


@pytest.fixture
def fleet(kafka, redis_url, model_folder, tmp_path):
    fleet = Kept(kafka, redis_url, model_folder, tmp_path)
    yield fleet
    fleet.kill()


def test_what_people_set_comes_back_with_a_rebuild_and_nothing_is_guessed_before(fleet):
    """A worker without its routes ends; a rebuild brings routes, pins, freezes, settings, audits.

    Until then no command begins anew with the built-in route. The rebuild is run while no worker
    runs and none has counted a text since, and twice. `doctor` tells what Redis has lost.
    """
    fleet.offramp("topics", "init", "--yes")
    fleet.start("a")
    fleet.produce(fleet.texts, 0, 100)
    fleet.wait_for(lambda: len(fleet.predictions()) == 100)
    fleet.set_all()
    before = fleet.said()
    latest = before[2][0]["time_ms"]
    fleet.wait_for(lambda: any(key[-1].startswith(str(latest)) for key in fleet.kept()), 20)
    fleet.stop()
    redis.Redis.from_url(fleet.redis_url).flushdb()
    fleet.produce(fleet.texts, 100, 150)
    assert "offramp policy rebuild" in fleet.ends_by_itself("b")
    checked = fleet.run("worker", "--check", "-o", "json")
    failed = [found for found in orjson.loads(checked.stdout)["checks"] if not found["ok"]]
    assert "run `offramp policy rebuild`" in {found["advice"] for found in failed}
    said = [("route", "list"), ("route", "show", "texts"), ("topics", "list")]
    added = [("route", "add", "x", "--to", fleet.out), ("topics", "init", "texts.x")]
    for args in (*said, *((*args, "--yes") for args in added)):
        done = fleet.run(*args)
        assert done.exit_code == 1
        assert "offramp policy rebuild" in str(done.exception)
    done = fleet.offramp("policy", "rebuild", "--yes")
    assert done["restored"] == {"routes": True, "settings": True, "domains": 2, "changes": 5}
    assert done["rebuilds"][0]["counted"] == 100
    after = fleet.said()
    assert (after[:4], after[4:]) == (before[:4], before[4:])
    again = fleet.offramp("policy", "rebuild", "--yes")
    assert again["restored"] == {"routes": False, "settings": False, "domains": 0, "changes": 0}
    assert again["rebuilds"][0]["counted"] == 0
    fleet.workers.clear()
    fleet.start("c")
    fleet.wait_for(lambda: len(fleet.predictions()) == 150)
    assert {p["exit"] for p in fleet.predictions() if int(p["id"]) >= 100} == {1}
    fleet.wait_for(lambda: any(key[0] == "route-audit" for key in fleet.kept()))
    fleet.wait_for(lambda: fleet.run("policy", "doctor").exit_code == 0)  # all is copied
    fleet.stop()
    with RedisStore(fleet.redis_url) as store:
        read_reports(store, "default", domains=[])  # opens it
        store.server.command("DEL", store.bound()[0].key("audit"))
    done = fleet.run("policy", "doctor")
    assert done.exit_code == 4
    assert "Redis has lost policy and" in done.stdout


def test_a_running_fleet_brings_back_what_people_set(fleet):
    """After FLUSHALL workers put all of it back, also where no text comes, and read on.

    Without a policy topic `doctor` notes that Redis alone has it; once there is one, it is copied.
    """
    fleet.start("a")
    fleet.produce(fleet.texts, 0, 50)
    fleet.wait_for(lambda: len(fleet.predictions()) == 50)
    fleet.set_all()
    assert "exist only in Redis" in fleet.run("policy", "doctor").stdout
    fleet.offramp("topics", "init", "--yes")
    before = fleet.said()
    latest = before[2][0]["time_ms"]
    fleet.wait_for(lambda: any(key[-1].startswith(str(latest)) for key in fleet.kept()), 40)
    assert fleet.offramp("policy", "doctor")["findings"] == []
    redis.Redis.from_url(fleet.redis_url).flushdb()
    fleet.wait_for(lambda: "domains=2" in fleet.log("a"))
    fleet.wait_for(lambda: "repaired texts=50" in fleet.log("a"))
    after = fleet.said()
    fleet.produce(fleet.texts, 50, 100)
    fleet.wait_for(lambda: len(fleet.predictions()) == 100)
    assert {p["exit"] for p in fleet.predictions() if int(p["id"]) >= 50} == {1}
    assert (after[0], after[1:4], after[4:]) == (before[0], before[1:4], before[4:])
    fleet.stop()


def test_a_group_that_read_other_topics_does_not_begin_by_the_built_in_route(fleet):
    """Without a policy topic, what the group has committed in Kafka tells that routes are gone."""
    fleet.start("a")
    fleet.produce(fleet.texts, 0, 20)
    fleet.wait_for(lambda: len(fleet.predictions()) == 20)
    fleet.stop()
    redis.Redis.from_url(fleet.redis_url).flushdb()
    for args in (("route", "list"), ("route", "test", fleet.texts), ("topics", "list")):
        done = fleet.run(*args)
        assert f"the group has read topic {fleet.texts}" in str(done.exception), args
    said = fleet.ends_by_itself("b")
    assert f"the group has read topic {fleet.texts}" in said
    assert "offramp route add" in said
