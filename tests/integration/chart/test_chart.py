"""What the chart renders is true to the worker, to the image and to itself."""

import math
import re
from pathlib import Path

import pytest
import yaml

from consumer.settings.load import Settings, load_settings
from deploy.helm.derived import CHART
from tests.support.chart.render import CASES, committed, objects, pod_of, worker_of

ROOT = Path(__file__).resolve().parents[3]
RENDERS = Path(__file__).with_name("renders")


def containers_of(pod):
    return [*pod.get("initContainers", ()), *pod["containers"]]


def pods(case):
    """Return all pods of a render, by kind and name of what makes them."""
    kinds = {"StatefulSet", "Deployment", "Job", "Pod"}
    return {key: pod_of(thing) for key, thing in objects(case).items() if key[0] in kinds}


def variables_of(container, *, name):
    """Return the variables of a container in the pod of this name."""
    given = {"metadata.name": name}
    return {
        variable["name"]: variable["value"]
        if "value" in variable
        else given[variable["valueFrom"]["fieldRef"]["fieldPath"]]
        for variable in container["env"]
    }


@pytest.fixture
def settings_of(tmp_path, monkeypatch):
    """Return the settings that a container reads: its file and its variables."""

    def read(case, pod, container, *, name="reviews-worker-0"):
        (volume,) = [v for v in pod["volumes"] if v["name"] == "config"]
        written = objects(case)["ConfigMap", volume["configMap"]["name"]]["data"]
        variables = variables_of(container, name=name)
        (mount,) = [m for m in container["volumeMounts"] if m["name"] == "config"]
        (file,) = written
        assert variables.pop("OFFRAMP_CONFIG") == f"{mount['mountPath']}/{file}"
        (tmp_path / file).write_text(written[file])
        for variable, value in variables.items():
            monkeypatch.setenv(variable, value)
        return load_settings(tmp_path / file)

    return read


@pytest.mark.parametrize("case", CASES)
def test_a_render_changes_only_with_intent(case):
    """What a change of the chart does to a cluster is seen in the change."""
    expected = (RENDERS / f"{case}.yaml").read_text()
    assert committed(case) == expected, (
        "if it is meant: .venv/bin/python -m tests.support.chart.render"
    )


@pytest.mark.parametrize("case", CASES)
def test_every_container_reads_settings_that_are_settings(case, settings_of):
    """Files and variables of all pods are those of Offramp, and the worker's name is the pod's."""
    read = 0
    for (_, name), pod in pods(case).items():
        for container in containers_of(pod):
            if any(variable["name"] == "OFFRAMP_CONFIG" for variable in container.get("env", ())):
                settings = settings_of(case, pod, container)
                assert "kafka" in settings.kafka.bootstrap_servers, name
                read += 1
    assert read >= 2


def test_the_worker_gets_its_name_and_its_settings(settings_of):
    """Whoever has the pod's name has the worker's name; numbers arrive as numbers."""
    pod = pod_of(worker_of(objects("full")))
    settings = settings_of("full", pod, pod["containers"][0])
    assert settings.instance == "reviews-worker-0"
    assert settings.store.idle_s == 2_592_000
    assert settings.routes is not None


def test_a_gpu_is_asked_for_and_needed(settings_of):
    """Count, resource, taint and node are those that were asked for; without it a worker fails."""
    pod = pod_of(worker_of(objects("gpu")))
    for container in pod["initContainers"][1:] + pod["containers"]:
        assert container["resources"]["limits"]["nvidia.com/mig-1g.12gb"] == 1
    assert {t["key"] for t in pod["tolerations"]} == {"nvidia.com/gpu", "nvidia.com/mig-1g.12gb"}
    assert settings_of("gpu", pod, pod["containers"][0]).model.device == "cuda"
    pod = pod_of(worker_of(objects("claims")))
    (claim,) = pod["resourceClaims"]
    assert pod["containers"][0]["resources"]["claims"] == [{"name": claim["name"]}]
    assert settings_of("claims", pod, pod["containers"][0]).model.device == "cuda"
    pod = pod_of(worker_of(objects("small")))
    assert settings_of("small", pod, pod["containers"][0]).model.device == "auto"


@pytest.mark.parametrize(
    ("cpu", "processes", "threads"), [("2", 1, 2), ("4", 2, 2), ("500m", 1, 1), ("3", 2, 1)]
)
def test_workers_share_the_cores_that_the_pod_asks_for(cpu, processes, threads):
    """As many threads as cores in all, at least one for each worker."""
    more = ("--set-string", f"worker.resources.requests.cpu={cpu}")
    things = objects("small", *more, "--set", f"worker.processes={processes}")
    container = pod_of(worker_of(things))["containers"][0]
    variables = variables_of(container, name="")
    assert variables["OMP_NUM_THREADS"] == variables["RAYON_NUM_THREADS"] == str(threads)
    assert container["args"] == ["worker", "--processes", str(processes)]


@pytest.mark.parametrize("case", CASES)
def test_grace_period_covers_the_drain(case, settings_of):
    """A worker that is told to stop may finish, commit and leave before it is killed."""
    pod = pod_of(worker_of(objects(case)))
    settings = settings_of(case, pod, pod["containers"][0])
    needed_s = settings.worker.drain_s + settings.kafka.request_timeout_s
    assert pod["terminationGracePeriodSeconds"] == math.ceil(needed_s) + 10


def test_grace_period_follows_the_drain():
    """Who sets a longer drain sets nothing else."""
    pod = pod_of(worker_of(objects("small", "--set-json", "settings.worker.drain_s=37.5")))
    assert pod["terminationGracePeriodSeconds"] == 38 + 30 + 10


@pytest.mark.parametrize("case", CASES)
def test_probes_ask_the_port_that_the_worker_opens(case, settings_of):
    """Settings, port of the container, service and monitor mean one port."""
    things = objects(case)
    pod = pod_of(worker_of(things))
    (container,) = pod["containers"]
    settings = settings_of(case, pod, container)
    assert settings.metrics.host == "0.0.0.0"  # noqa: S104
    assert container["ports"] == [{"name": "metrics", "containerPort": settings.metrics.port}]
    paths = {"startupProbe": "/live", "livenessProbe": "/live", "readinessProbe": "/ready"}
    for probe, path in paths.items():
        assert container[probe]["httpGet"] == {"path": path, "port": "metrics"}
    annotations = worker_of(things)["spec"]["template"]["metadata"]["annotations"]
    monitor = things.get(("PodMonitor", "reviews-worker"))
    assert (monitor is None) == (annotations.get("prometheus.io/scrape") == "true")


def test_a_worker_gives_up_before_its_port_says_that_it_hangs():
    """A worker that cannot commit ends by itself, with its error, before the probe kills it."""
    defaults = Settings()
    waits_s = defaults.worker.give_up_s + defaults.kafka.request_timeout_s
    assert defaults.worker.stuck_s >= waits_s


@pytest.mark.parametrize("case", CASES)
def test_pods_have_no_rights_they_do_not_need(case):
    """Pod Security `restricted`: not root, no capability, no token, nothing to write but /tmp."""
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text()
    for (kind, name), pod in pods(case).items():
        who = pod["securityContext"]
        assert f"USER {who['runAsUser']}:{who['runAsGroup']}\n" in dockerfile, name
        assert who["runAsNonRoot"]
        assert who["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False, (kind, name)
        assert pod["enableServiceLinks"] is False
        assert all(
            set(volume) & {"configMap", "emptyDir", "secret", "persistentVolumeClaim"}
            for volume in pod["volumes"]
        )
        for container in containers_of(pod):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            mounts = {m["mountPath"] for m in container["volumeMounts"] if not m.get("readOnly")}
            allowed = {"/tmp", "/models"} if container["name"] == "model" else {"/tmp"}  # noqa: S108
            assert mounts == allowed, (name, container["name"])
            asked = container["resources"]
            assert {"memory"} <= asked["limits"].keys(), name
            assert {"cpu", "memory", "ephemeral-storage"} <= asked["requests"].keys(), name
    account = objects(case)["ServiceAccount", "reviews"]
    assert account["automountServiceAccountToken"] is False
    assert not {kind for kind, _ in objects(case)} & {"Role", "ClusterRole", "RoleBinding"}


@pytest.mark.parametrize("case", CASES)
def test_objects_find_each_other(case):
    """Service, budget, spread, monitor and policies mean the pods of their component alone."""
    things = objects(case)
    labels = worker_of(things)["spec"]["template"]["metadata"]["labels"]
    assert worker_of(things)["spec"]["selector"]["matchLabels"] == labels
    assert worker_of(things)["spec"]["serviceName"] == "reviews-worker"
    service = things["Service", "reviews-worker"]["spec"]
    assert service["selector"] == labels
    assert service["clusterIP"] == "None"
    budget = things["PodDisruptionBudget", "reviews-worker"]["spec"]
    assert budget["selector"]["matchLabels"] == labels
    for spread in pod_of(worker_of(things))["topologySpreadConstraints"]:
        assert spread["labelSelector"]["matchLabels"] == labels
    if monitor := things.get(("PodMonitor", "reviews-worker")):
        assert monitor["spec"]["selector"]["matchLabels"] == labels
    policies = [thing for (kind, _), thing in things.items() if kind == "NetworkPolicy"]
    for policy in policies:
        wanted = policy["spec"]["podSelector"]["matchLabels"]
        component = wanted["app.kubernetes.io/component"]
        assert wanted == {**labels, "app.kubernetes.io/component": component}
    components = {labelled_of(thing) for key, thing in things.items() if key in pods(case)}
    named = {
        p["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/component"] for p in policies
    }
    assert named == (set() if case == "claims" else components)


def labelled_of(thing):
    """Return the component of the pods that an object makes, or is."""
    holder = thing if thing["kind"] == "Pod" else thing["spec"]["template"]
    return holder["metadata"]["labels"]["app.kubernetes.io/component"]


def test_secrets_are_folders_and_each_file_of_the_settings_is_in_one():
    """A Secret that changes is a file that changes: none is mounted by key, or a variable."""
    for (_, name), pod in pods("full").items():
        mounted = {
            mount["mountPath"]
            for container in pod["containers"]
            for mount in container["volumeMounts"]
            if mount["name"].startswith("secret-")
        }
        (volume,) = [v["configMap"]["name"] for v in pod["volumes"] if v["name"] == "config"]
        text = objects("full")["ConfigMap", volume]["data"]["offramp.yaml"]
        files = re.findall(r"_file: (\S+)", text)
        assert files
        assert {str(Path(file).parent) for file in files} <= mounted, name
        for container in containers_of(pod):
            assert all("subPath" not in mount for mount in container["volumeMounts"])
            assert "secretKeyRef" not in str(container)


def test_each_component_logs_in_as_itself(settings_of):
    """Workers, the Job for topics and the dashboard have their own users and Secrets."""
    users = {}
    for key in (
        ("StatefulSet", "reviews-worker"),
        ("Job", "reviews-topics"),
        ("Deployment", "reviews-dashboard"),
    ):
        pod = pods("full")[key]
        settings = settings_of("full", pod, pod["containers"][0])
        secrets = {v["name"]: v["secret"]["secretName"] for v in pod["volumes"] if "secret" in v}
        login = settings.redis.url.split("//")[1].split("@")[0]
        users[key[0]] = (settings.kafka.security.username, secrets["secret-kafka"], login)
    assert users == {
        "StatefulSet": ("offramp-worker", "offramp-worker", "offramp-worker"),
        "Job": ("offramp-operator", "offramp-operator", "offramp-worker"),
        "Deployment": ("offramp-operator", "offramp-operator", "offramp-viewer"),
    }


def test_the_job_for_topics_comes_before_all_else_with_what_it_needs():
    """It runs before workers are there, so its settings and its way to Kafka come before it."""
    things = objects("small")
    before = {
        key: thing["metadata"]["annotations"]
        for key, thing in things.items()
        if "pre-install" in thing["metadata"].get("annotations", {}).get("helm.sh/hook", "")
    }
    job = ("Job", "reviews-topics")
    assert before.keys() == {
        job,
        ("ConfigMap", "reviews-topics"),
        ("NetworkPolicy", "reviews-topics"),
    }
    weights = {key: int(notes.get("helm.sh/hook-weight", 0)) for key, notes in before.items()}
    assert all(weight < weights[job] for key, weight in weights.items() if key != job)
    pod = pod_of(things[job])
    assert "serviceAccountName" not in pod
    assert pod["containers"][0]["args"][:4] == ["topics", "init", "texts.hotels", "texts.films"]


def test_a_change_of_settings_rolls_the_workers_and_nothing_else_does():
    """The pods' template changes with the settings, and not with the number of workers."""
    plain = worker_of(objects("small"))["spec"]["template"]
    changed = worker_of(objects("small", "--set", "settings.worker.drain_s=21"))["spec"]["template"]
    assert changed["metadata"]["annotations"] != plain["metadata"]["annotations"]
    scaled = worker_of(objects("small", "--set", "worker.replicas=5"))["spec"]["template"]
    assert scaled == plain


def test_digests_win_over_tags():
    """A pinned image is pulled by its digest."""
    values = yaml.safe_load((CHART / "ci" / "full-values.yaml").read_text())
    image = pod_of(worker_of(objects("full")))["containers"][0]["image"]
    assert image == f"{values['image']['repository']}@{values['image']['digest']}"
