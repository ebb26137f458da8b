"""The image and the compose file are true to the worker and to each other."""

import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from consumer.routes.table import BUILT_IN
from consumer.settings.load import Settings, load_settings
from deploy.helm.derived import CHART
from deploy.local.kafka_files import kafka_version
from deploy.local.kafka_server import broker_settings
from deploy.local.process import free_port
from policy_state.store.redis.store import RedisStore

ROOT = Path(__file__).resolve().parents[3]
DEPLOY = ROOT / "deploy"


def run(*command, **more):
    return subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=False, timeout=120, **more
    )


@pytest.fixture(scope="module")
def services():
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]


@pytest.fixture(scope="module")
def instructions():
    """The Dockerfile's instructions, as (name, rest)."""
    text = re.sub(r"^#.*\n", "", (DEPLOY / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    return [tuple(line.split(maxsplit=1)) for line in lines if line.strip()]


def settings_under(environ, monkeypatch):
    """Return the settings under exactly these OFFRAMP_ variables, each of which must be one."""
    for name in [name for name in os.environ if name.startswith("OFFRAMP_")]:
        monkeypatch.delenv(name)
    for name, value in environ.items():
        if name.startswith("OFFRAMP_"):
            monkeypatch.setenv(name, value)
    settings = load_settings()
    for name in environ:
        if name.startswith("OFFRAMP_") and name != "OFFRAMP_CONFIG":
            here = settings
            for part in name.removeprefix("OFFRAMP_").lower().split("__"):
                assert part in type(here).model_fields, f"{name} is no setting"
                here = getattr(here, part)
    return settings


def test_grace_period_covers_the_drain(services):
    """A worker that is told to stop may finish, commit and leave before it is killed."""
    defaults = Settings()
    needed_s = defaults.worker.drain_s + defaults.kafka.request_timeout_s
    for name in ("worker-0", "worker-1"):
        assert int(services[name]["stop_grace_period"].removesuffix("s")) >= needed_s + 5


def test_probes_ask_the_port_that_the_worker_opens(services, instructions):
    """Image, chart and compose mean one port."""
    port = yaml.safe_load((CHART / "values.yaml").read_text())["settings"]["metrics"]["port"]
    image = " ".join(rest for name, rest in instructions if name == "ENV")
    assert f"OFFRAMP_METRICS__PORT={port} " in image
    assert "OFFRAMP_METRICS__HOST=0.0.0.0" in image
    assert dict(instructions)["EXPOSE"] == str(port)
    for name in ("worker-0", "worker-1"):
        *_, asked = services[name]["healthcheck"]["test"]
        assert f"http://127.0.0.1:{port}/ready" in asked


def test_the_health_check_of_compose_fails_where_nobody_is_ready(services):
    """It is a program that ends with 1 as long as the port does not answer with 200."""
    _, program, option, code = services["worker-0"]["healthcheck"]["test"]
    asked = code.replace("9464", str(free_port()))
    assert program == "python"
    assert run(sys.executable, option, asked).returncode == 1


def test_images_are_the_ones_that_are_built(services, instructions):
    """Every image is a target of the Dockerfile or pinned, Kafka's to the version of the tests."""
    stages = [rest.split()[-1] for name, rest in instructions if name == "FROM"]
    assert stages[-1] == "cpu"  # what a build without a target gives
    for name in ("topics", "worker-0", "worker-1", "generator"):
        assert services[name]["image"] == "offramp:cpu"
        assert services[name]["build"]["target"] == "cpu"
    assert services["kafka"]["image"] == f"apache/kafka:{kafka_version()}"
    assert re.fullmatch(r"redis:7\.\d+-alpine", services["redis"]["image"])


@pytest.mark.parametrize("name", ["worker-0", "worker-1", "generator"])
def test_compose_settings_are_settings_of_the_worker(services, name, monkeypatch):
    """Every variable in the compose file is a setting; each worker has its own name."""
    settings = settings_under(services[name]["environment"], monkeypatch)
    assert settings.kafka.bootstrap_servers == "kafka:9092"
    assert name in {"generator", settings.instance}


def test_compose_services_have_no_rights_they_do_not_need(services):
    """No capability, no new privilege, no port; our own and Redis cannot write their root."""
    for name, service in services.items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert "ports" not in service, name
    read_only = {name for name, service in services.items() if service.get("read_only")}
    assert read_only == {"redis", "topics", "worker-0", "worker-1", "generator"}


def test_compose_services_start_in_order(services):
    """What is waited for exists and can tell when it is ready."""
    for service, (needed, how) in itertools.chain.from_iterable(
        ((name, need) for need in service.get("depends_on", {}).items())
        for name, service in services.items()
    ):
        assert needed in services, service
        if how["condition"] == "service_healthy":
            assert "healthcheck" in services[needed], service


def test_compose_kafka_has_settings_that_a_real_broker_has_run_with(services):
    """The container's broker is set up as the one of the tests, but for its addresses."""
    given = {
        name.removeprefix("KAFKA_").replace("_", ".").lower(): value
        for name, value in services["kafka"]["environment"].items()
    }
    proven = broker_settings(port=9092, controller_port=9093, advertise="kafka")
    addresses = {"listeners", "controller.quorum.voters", "log.dirs"}
    assert {name: proven.get(name) for name in given.keys() - addresses} == {
        name: given[name] for name in given.keys() - addresses
    }


def test_compose_creates_the_topics_that_are_used(services, monkeypatch, kafka, redis_url):
    """What the service runs makes every topic of generator, routes, dead letters and policy."""
    settings = settings_under(services["worker-0"]["environment"], monkeypatch)
    own = {
        **services["topics"]["environment"],
        "OFFRAMP_KAFKA__BOOTSTRAP_SERVERS": kafka,
        "OFFRAMP_REDIS__URL": redis_url,
    }
    made = run(
        *(sys.executable, "-m", "consumer", *services["topics"]["command"], "-o", "json"),
        cwd=ROOT,
        env={**os.environ, **own},
    )
    assert made.returncode == 0, made.stderr
    topics = {row["topic"]: row for row in json.loads(made.stdout)["topics"]}
    inputs = {f"texts.{file.stem}" for file in (ROOT / "demo" / "reviews").glob("*.jsonl")}
    outputs = {settings.kafka.dead_letters, settings.kafka.policy_topic, BUILT_IN.output}
    assert settings.routes is None
    assert topics.keys() == inputs | outputs
    assert {name for name, row in topics.items() if row["role"] == "input"} == inputs
    with RedisStore(redis_url) as store:  # where nobody wrote routes, as in a new compose project
        assert store.routes(settings.kafka.group).revision == 0
