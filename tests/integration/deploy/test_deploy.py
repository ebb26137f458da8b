"""The image and the manifests are true to the worker and to each other."""

import itertools
import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import yaml

from consumer.routes.table import BUILT_IN
from consumer.settings.load import Settings, load_settings
from deploy.local.kafka_files import kafka_version
from deploy.local.kafka_server import broker_settings
from deploy.local.process import free_port
from policy_state.store.redis.store import RedisStore

ROOT = Path(__file__).resolve().parents[3]
DEPLOY = ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
VARIANTS = ("cpu", "cuda")


def run(*command, **more):
    return subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=False, timeout=120, **more
    )


@pytest.fixture(scope="module")
def stateful_set():
    return yaml.safe_load((KUBERNETES / "cpu" / "stateful-set.yaml").read_text())


@pytest.fixture(scope="module")
def pod(stateful_set):
    return stateful_set["spec"]["template"]["spec"]


@pytest.fixture(scope="module")
def container(pod):
    return pod["containers"][0]


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


@pytest.fixture
def pod_settings(container, monkeypatch):
    """The settings of the pod offramp-worker-0, its file and its secrets as they would be."""
    given = {
        "metadata.name": "offramp-worker-0",
        "offramp-redis/url": "redis://worker:secret@redis:6379/0",
    }
    environ = {}
    for variable in container["env"]:
        source = variable.get("valueFrom", {})
        if "fieldRef" in source:
            environ[variable["name"]] = given[source["fieldRef"]["fieldPath"]]
        elif "secretKeyRef" in source:
            key = source["secretKeyRef"]
            environ[variable["name"]] = given[f"{key['name']}/{key['key']}"]
        elif "value" in variable:
            environ[variable["name"]] = variable["value"]
    mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert environ["OFFRAMP_CONFIG"] == f"{mounted['config']}/offramp.toml"
    environ["OFFRAMP_CONFIG"] = str(KUBERNETES / "cpu" / "offramp.toml")
    return settings_under(environ, monkeypatch)


def test_pod_settings_are_settings_of_the_worker(pod_settings):
    """What the manifests set is what the worker reads: name, secrets, file."""
    assert pod_settings.instance == "offramp-worker-0"
    assert pod_settings.redis.url == "redis://worker:secret@redis:6379/0"
    assert pod_settings.kafka.bootstrap_servers == "kafka:9092"


def test_kafka_secrets_in_the_guide_are_files_that_the_pod_has(tmp_path, monkeypatch):
    """What the guide says of Kafka's secrets fits: keys of the secret, where mounted, settings."""
    guide = (ROOT / "docs" / "deploy.md").read_text()
    toml, overlay = re.findall(
        r"^ {3}```(?:toml|yaml)\n(.*?)^ {3}```", guide, re.MULTILINE | re.DOTALL
    )
    patch = yaml.safe_load(yaml.safe_load(overlay)["patches"][0]["patch"])
    added = {step["path"]: step["value"] for step in patch}
    volume = added["/spec/template/spec/volumes/-"]
    mount = added["/spec/template/spec/containers/0/volumeMounts/-"]
    created = re.search(rf"generic {volume['secret']['secretName']}((?: --from-file=\S+)+)", guide)
    assert created is not None
    files = {Path(mount["mountPath"], key) for key in re.findall(r"=(\S+)", created[1])}
    (tmp_path / "offramp.toml").write_text(textwrap.dedent(toml))
    environ = {"OFFRAMP_CONFIG": str(tmp_path / "offramp.toml")}
    security = settings_under(environ, monkeypatch).kafka.security
    assert mount["name"] == volume["name"]
    assert {security.password_file, security.ca_file} == files


def test_gpu_variant_differs_only_where_it_must(monkeypatch):
    """The GPU variant asks for a GPU, and its workers fail where they do not get one."""
    text = (KUBERNETES / "cuda" / "kustomization.yaml").read_text()
    operations = yaml.safe_load(yaml.safe_load(text)["patches"][0]["patch"])
    added = {step["path"]: step["value"] for step in operations}
    assert added["/spec/template/spec/containers/0/resources/limits/nvidia.com~1gpu"] == 1
    variable = added["/spec/template/spec/containers/0/env/-"]
    settings = settings_under({variable["name"]: variable["value"]}, monkeypatch)
    assert settings.model.device == "cuda"


def test_grace_period_covers_the_drain(pod, pod_settings, services):
    """A worker that is told to stop may finish, commit and leave before it is killed."""
    needed_s = pod_settings.worker.drain_s + pod_settings.kafka.request_timeout_s
    assert pod["terminationGracePeriodSeconds"] >= needed_s + 5
    defaults = Settings()
    needed_s = defaults.worker.drain_s + defaults.kafka.request_timeout_s
    for name in ("worker-0", "worker-1"):
        assert int(services[name]["stop_grace_period"].removesuffix("s")) >= needed_s + 5


def test_probes_ask_the_port_that_the_worker_opens(
    stateful_set, container, pod_settings, services, instructions
):
    """Image, manifests and compose mean one port, and the paths that it answers on."""
    port = pod_settings.metrics.port
    assert pod_settings.metrics.host == "0.0.0.0"  # noqa: S104
    image = " ".join(rest for name, rest in instructions if name == "ENV")
    assert f"OFFRAMP_METRICS__PORT={port} " in image
    assert "OFFRAMP_METRICS__HOST=0.0.0.0" in image
    assert dict(instructions)["EXPOSE"] == str(port)
    assert container["ports"] == [{"name": "metrics", "containerPort": port}]
    paths = {"startupProbe": "/live", "livenessProbe": "/live", "readinessProbe": "/ready"}
    for probe, path in paths.items():
        assert container[probe]["httpGet"] == {"path": path, "port": "metrics"}
    annotations = stateful_set["spec"]["template"]["metadata"]["annotations"]
    assert annotations == {"prometheus.io/scrape": "true", "prometheus.io/port": str(port)}
    for name in ("worker-0", "worker-1"):
        *_, asked = services[name]["healthcheck"]["test"]
        assert f"http://127.0.0.1:{port}/ready" in asked


def test_the_health_check_of_compose_fails_where_nobody_is_ready(services):
    """It is a program that ends with 1 as long as the port does not answer with 200."""
    _, program, option, code = services["worker-0"]["healthcheck"]["test"]
    asked = code.replace("9464", str(free_port()))
    assert program == "python"
    assert run(sys.executable, option, asked).returncode == 1


def test_a_worker_gives_up_before_its_port_says_that_it_hangs(pod_settings):
    """A worker that cannot commit ends by itself, with its error, before the probe kills it."""
    waits_s = pod_settings.worker.give_up_s + pod_settings.kafka.request_timeout_s
    assert pod_settings.worker.stuck_s >= waits_s


def test_pods_have_no_rights_they_do_not_need(pod, container, instructions):
    """Not root, by the number of the image; no capability, no token, nothing to write but /tmp."""
    user = f"{pod['securityContext']['runAsUser']}:{pod['securityContext']['runAsGroup']}"
    assert dict(instructions)["USER"] == user
    assert int(user.partition(":")[0]) > 0
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    account = yaml.safe_load((KUBERNETES / "cpu" / "service-account.yaml").read_text())
    assert pod["serviceAccountName"] == account["metadata"]["name"]
    assert not pod["automountServiceAccountToken"]
    assert not account["automountServiceAccountToken"]
    writable = [m["mountPath"] for m in container["volumeMounts"] if not m.get("readOnly")]
    assert writable == ["/tmp"]  # noqa: S108


def test_objects_find_each_other(stateful_set):
    """Service, disruption budget, spread and StatefulSet mean the same pods."""
    labels = stateful_set["spec"]["template"]["metadata"]["labels"]
    service = yaml.safe_load((KUBERNETES / "cpu" / "service.yaml").read_text())
    budget = yaml.safe_load((KUBERNETES / "cpu" / "disruption-budget.yaml").read_text())
    spread = stateful_set["spec"]["template"]["spec"]["topologySpreadConstraints"][0]
    assert service["spec"]["selector"] == labels
    assert service["metadata"]["name"] == stateful_set["spec"]["serviceName"]
    assert service["spec"]["clusterIP"] == "None"
    assert budget["spec"]["selector"]["matchLabels"] == labels
    assert spread["labelSelector"]["matchLabels"] == labels
    assert stateful_set["spec"]["selector"]["matchLabels"] == labels


def test_images_are_the_ones_that_are_built(container, services, instructions):
    """Every image is a target of the Dockerfile or pinned, Kafka's to the version of the tests."""
    stages = [rest.split()[-1] for name, rest in instructions if name == "FROM"]
    assert stages[-1] == "cpu"  # what a build without a target gives
    for variant in VARIANTS:
        text = (KUBERNETES / variant / "kustomization.yaml").read_text()
        assert yaml.safe_load(text)["images"] == [{"name": "offramp", "newTag": variant}]
        assert variant in stages
    assert container["image"] == "offramp:cpu"
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
