"""The image and the compose file are true to the worker and to each other."""

import itertools
import json
import os
import re
import subprocess
import sys
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from consumer.routes.table import BUILT_IN
from consumer.settings.load import Settings, load_settings
from deploy.helm.derived import CHART
from deploy.local.kafka_files import kafka_version
from deploy.local.kafka_server import broker_settings
from policy_state.store.redis.store import RedisStore

ROOT = Path(__file__).resolve().parents[3]
DEPLOY = ROOT / "deploy"
OURS = {  # the services of compose that run an image of ours
    "topics": "control",
    "generator": "control",
    "dashboard": "control",
    "worker-0": "cpu",
    "worker-1": "cpu",
}


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
        assert "healthcheck" not in services[name]  # the image has one


@pytest.mark.parametrize(("ready", "code"), [(HTTPStatus.OK, 0), (HTTPStatus.NOT_FOUND, 1)])
def test_the_health_check_of_the_image_says_whether_a_worker_is_ready(instructions, ready, code):
    """It is a program that ends with 1 as long as the port does not answer with 200."""
    program, *arguments = json.loads(dict(instructions)["HEALTHCHECK"].partition("CMD ")[2])
    asked = []

    class Port(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(ready)
            self.send_header("Content-Length", "0")
            self.end_headers()

    with ThreadingHTTPServer(("127.0.0.1", 0), Port) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        environ = {**os.environ, "OFFRAMP_METRICS__PORT": str(server.server_port)}
        assert program == "python"
        assert run(sys.executable, *arguments, env=environ).returncode == code
        server.shutdown()
        thread.join()
    assert asked == ["/ready"]
    assert run(sys.executable, *arguments, env=environ).returncode == 1  # nobody is there


def test_images_are_the_ones_that_are_built(services, instructions):
    """Every image is a target of the Dockerfile or pinned, Kafka's to the version of the tests."""
    stages = [rest.split()[-1] for name, rest in instructions if name == "FROM"]
    assert stages[-1] == "cpu"  # what a build without a target gives
    for name, target in OURS.items():
        assert services[name]["image"] == f"offramp:{target}"
        assert services[name]["build"]["target"] == target
        assert target in stages
    assert services["kafka"]["image"] == f"apache/kafka:{kafka_version()}"
    assert re.fullmatch(r"redis:7\.\d+-alpine", services["redis"]["image"])


@pytest.mark.parametrize("name", OURS)
def test_compose_settings_are_settings_of_the_worker(services, name, monkeypatch):
    """Every variable in the compose file is a setting; each worker has its own name."""
    settings = settings_under(services[name]["environment"], monkeypatch)
    assert settings.kafka.bootstrap_servers == "kafka:9092"
    assert settings.instance == name or OURS[name] == "control"


def test_compose_services_have_no_rights_they_do_not_need(services):
    """No capability, no new privilege; most cannot write their root, no port is open to others."""
    for name, service in services.items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ())), name
    assert {name for name, service in services.items() if "ports" in service} == {
        "dashboard", "prometheus", "grafana",
    }  # fmt: skip
    read_only = {name for name, service in services.items() if service.get("read_only")}
    assert services.keys() - read_only == {"kafka", "grafana"}


def test_compose_services_leave_the_machine_its_memory_and_its_disk(services):
    """Each has a limit of memory and of its log, and is started again when it ends."""
    for name, service in services.items():
        assert re.fullmatch(r"\d+[mg]", service["mem_limit"]), name
        assert service["logging"]["options"].keys() == {"max-size", "max-file"}, name
        again = "on-failure" if name == "topics" else "unless-stopped"
        assert service["restart"] == again, name


def test_only_what_is_asked_for_is_observed(services):
    """Prometheus and Grafana start under a profile; Prometheus finds the port of each worker."""
    assert {name for name, service in services.items() if "profiles" in service} == {
        "prometheus", "grafana",
    }  # fmt: skip
    settings = yaml.safe_load((DEPLOY / "observe" / "prometheus.yaml").read_text())
    (job,) = settings["scrape_configs"]
    workers = [name for name, target in OURS.items() if target == "cpu"]
    assert job["static_configs"] == [{"targets": [f"{name}:9464" for name in workers]}]
    assert "offramp" in job["job_name"]  # as the rules expect


def test_what_compose_mounts_is_there_and_is_where_grafana_looks(services):
    """A file that is missing would be made a folder by the engine, and Grafana would be empty."""
    mounts = {}
    for name, service in services.items():
        for volume in service.get("volumes", ()):
            source, target, *_ = volume.split(":")
            mounts[name, target] = source
            assert not source.startswith(".") or (DEPLOY / source).exists(), volume
    provisioning = DEPLOY / mounts["grafana", "/etc/grafana/provisioning"]
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "offramp.yaml").read_text())[
        "providers"
    ]
    home = services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert Path(home).parent == Path(provider["options"]["path"])
    assert (DEPLOY / mounts["grafana", home]).resolve().parent.name == "grafana"
    (source,) = yaml.safe_load((provisioning / "datasources" / "prometheus.yaml").read_text())[
        "datasources"
    ]
    assert source["url"] == "http://prometheus:9090"
    assert source["isDefault"]


def test_compose_services_start_in_order(services):
    """What is waited for exists and can tell when it is ready."""
    for service, (needed, how) in itertools.chain.from_iterable(
        ((name, need) for need in service.get("depends_on", {}).items())
        for name, service in services.items()
    ):
        assert needed in services, service
        if how["condition"] == "service_healthy":
            assert "healthcheck" in services[needed] or OURS.get(needed) == "cpu", service


def test_compose_kafka_has_settings_that_a_real_broker_has_run_with(services):
    """The container's broker is set up as the one of the tests, but for its addresses."""
    given = {
        name.removeprefix("KAFKA_").replace("_", ".").lower(): value
        for name, value in services["kafka"]["environment"].items()
    }
    proven = broker_settings(port=9092, controller_port=9093, advertise="kafka")
    addresses = {"listeners", "controller.quorum.voters", "log.dirs", "heap.opts"}
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
