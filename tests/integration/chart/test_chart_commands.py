"""The commands in the chart's pods, run for real, with the settings that the chart gives them."""

import json
import os
import subprocess
import sys

import httpx
import pytest

from consumer.entry import own_command
from consumer.routes.table import BUILT_IN
from policy_state.store.redis.store import RedisStore
from tests.support.chart.render import objects, pod_of
from tests.support.policies.lived import META
from tests.support.servers.dashboard import dashboard

TOKEN = "c2VjcmV0LW9mLXRoZS10ZXN0cw"  # noqa: S105 - of these tests alone


def arguments_of(kind, name, *more, case="small"):
    """Return the arguments of the first container."""
    return pod_of(objects(case, *more)[kind, name])["containers"][0]["args"]


def test_the_job_creates_every_topic_that_the_workers_need(kafka, redis_url, tmp_path):
    """Inputs, outputs, dead letters and the policy topic are there after it."""
    servers = f"settings.kafka.bootstrap_servers={kafka}", f"settings.redis.url={redis_url}"
    more = [part for setting in servers for part in ("--set", setting.replace(",", "\\,"))]
    written = objects("small", *more)["ConfigMap", "reviews-topics"]["data"]["offramp.yaml"]
    (tmp_path / "offramp.yaml").write_text(written)
    made = subprocess.run(
        own_command(*arguments_of("Job", "reviews-topics", *more), "-o", "json"),
        env={**os.environ, "OFFRAMP_CONFIG": str(tmp_path / "offramp.yaml")},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert made.returncode == 0, made.stderr
    topics = {row["topic"]: row["role"] for row in json.loads(made.stdout)["topics"]}
    inputs = {"texts.hotels": "input", "texts.films": "input"}
    assert topics.items() >= inputs.items()
    assert BUILT_IN.output in topics
    assert {"dead-letter", "policy"} <= set(topics.values())


@pytest.fixture
def shown(redis_url, tmp_path):
    """Address of a dashboard with the options that the chart gives it, and a policy to show."""
    with RedisStore(redis_url) as store:
        store.open(META)
    (tmp_path / "token").write_text(TOKEN)
    own = {"--port": None, "--bootstrap-servers": None, "--token-file": str(tmp_path / "token")}
    given = [
        part.split("=", 1)
        for part in arguments_of("Deployment", "reviews-dashboard", case="full")[1:]
    ]
    options = [f"{name}={own.get(name) or value}" for name, value in given if own.get(name, 1)]
    with dashboard(redis_url, *options) as address:
        yield address.replace("0.0.0.0", "127.0.0.1")  # noqa: S104


def test_the_dashboard_answers_its_probes_and_its_names(shown):
    """The path of the probes needs no token; names are those of the Service and of the values."""
    container = pod_of(objects("full")["Deployment", "reviews-dashboard"])["containers"][0]
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        asked = container[probe]["httpGet"]
        headers = {header["name"]: header["value"] for header in asked["httpHeaders"]}
        assert httpx.get(shown + asked["path"], headers=headers).status_code == 200
    command = pod_of(objects("full")["Pod", "reviews-test-dashboard"])["containers"][0]["command"]
    assert command[0] == "python"
    asked = [sys.executable, *command[1:-1], f"{shown}/login"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, done.stderr
    assert "<form" in done.stdout
    for name in ("reviews-dashboard", "reviews-dashboard.streams.svc:80", "offramp.example"):
        assert httpx.get(f"{shown}/login", headers={"Host": name}).status_code == 200
    assert httpx.get(f"{shown}/login", headers={"Host": "elsewhere"}).status_code == 421
