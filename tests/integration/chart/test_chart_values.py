"""What the chart makes of values: ways of the network, what is refused, scaling, dashboards."""

import re
from pathlib import Path
from textwrap import dedent

import pytest
import yaml

from consumer.metrics.catalogue import BY_NAME
from tests.support.chart.render import objects, template, worker_of

OBSERVE = Path(__file__).resolve().parents[3] / "deploy" / "observe"


def ports_out(policy):
    return sorted(p["port"] for rule in policy["spec"]["egress"] for p in rule["ports"])


@pytest.mark.parametrize(
    ("more", "ports"),
    [
        ((), [53, 53, 6379, 9092]),
        (("--set", "settings.kafka.bootstrap_servers=a:1\\,b"), [1, 53, 53, 6379, 9092]),
        (("--set", "settings.redis.url=rediss://u@r"), [53, 53, 6379, 9092]),
        (("--set", "settings.redis.url=redis+cluster://a:1\\,b:2/0"), [1, 2, 53, 53, 9092]),
        (("--set", "settings.redis.url=redis+sentinel://s:26379/m/0"), [53, 53, 6379, 9092, 26379]),
        (("--set", "settings.kafka.registry.url=https://registry/x"), [53, 53, 443, 6379, 9092]),
        (("--set", "settings.kafka.registry.url=http://r:8081"), [53, 53, 6379, 8081, 9092]),
        (("--set", "networkPolicy.redis.ports={7000,7001}"), [53, 53, 7000, 7001, 9092]),
    ],
)  # fmt: skip
def test_pods_may_reach_the_servers_of_their_settings_and_nothing_else(more, ports):
    """The ports that are open are those in the addresses, or those that are listed."""
    policy = objects("small", *more)["NetworkPolicy", "reviews-worker"]
    assert ports_out(policy) == sorted(ports)
    assert set(policy["spec"]["policyTypes"]) == {"Ingress", "Egress"}


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("image.tag=latest", "/image/tag"),
        ("image.tag=", "/image/tag"),
        ("image.tag=main", "/image/tag"),
        ("image.tag=0.1", "/image/tag"),
        ("image.digest=sha256:1", "/image/digest"),
        ("image.repository=registry.example/offramp:1.0.0", "/image/repository"),
        ("image.repository=", "image.repository: say where you pushed the image"),
        ("control.image.tag=control", "/control/image/tag"),
        ("model.fetch.image=models:latest", "/model/fetch/image"),
        ("worker.replicaz=3", "'replicaz' not allowed"),
        ("settings.kafka.grup=x", "'grup' not allowed"),
        ("settings.instance=x", "'instance' not allowed"),
        ("settings.batch.max_events=0", "/settings/batch/max_events"),
        ("settings.kafka.bootstrap_servers=", "settings.kafka.bootstrap_servers: say where"),
        ("settings.redis.url=", "settings.redis.url: say where"),
        ("settings.redis.url=redis://u:secret@r:6379", "settings.redis.url has a password"),
        ("settings.redis.password_file=/run/secrets/redis/p", "is in secrets.redis"),
        ("model.claim=models", "name the folder below /models"),
        ("dashboard.enabled=true", "dashboard.tokenSecret: name the Secret"),
        ("autoscaling.enabled=true", "autoscaling.prometheus.serverAddress: say where"),
        ("autoscaling.minReplicas=0", "/autoscaling/minReplicas"),
    ],
)  # fmt: skip
def test_a_value_that_cannot_work_is_refused_by_its_name(setting, said):
    """No moving tag, no unknown name, no secret in the open, nothing left out."""
    answer = template("small", "--set", setting)
    assert answer.returncode != 0
    assert said in answer.stderr
    assert "secret@" not in answer.stderr


def test_scaling_asks_for_what_workers_export():
    """Queries name metrics that exist and this release's series; lag decides without Prometheus."""
    things = objects("full")
    scaled = things["ScaledObject", "reviews-worker"]["spec"]
    assert "replicas" not in worker_of(things)["spec"]
    assert scaled["scaleTargetRef"]["name"] == "reviews-worker"
    kinds = [trigger["type"] for trigger in scaled["triggers"]]
    assert kinds == ["prometheus", "prometheus", "kafka"]
    (endpoint,) = things["PodMonitor", "reviews-worker"]["spec"]["podMetricsEndpoints"]
    (job,) = [rule["replacement"] for rule in endpoint["relabelings"]]
    for trigger in scaled["triggers"][:2]:
        query = trigger["metadata"]["query"]
        assert set(re.findall(r"offramp_\w+", query)) <= BY_NAME.keys()
        assert set(re.findall(r"\{(.*?)\}", query)) == {f'job="{job}"'}
    assert scaled["triggers"][2]["metadata"]["consumerGroup"] == "reviews"
    assert scaled["fallback"]["replicas"] == scaled["minReplicaCount"]


def test_rules_and_dashboards_are_those_of_the_repository():
    """Nothing is lost on the way, and alerts link to where the runbooks are kept."""
    things = objects("full")
    ours = (OBSERVE / "rules.yaml").read_text()
    ours = ours.replace("docs/runbooks.md", "https://runbooks.example/offramp")
    assert things["PrometheusRule", "reviews"]["spec"] == yaml.safe_load(ours)
    shipped = things["ConfigMap", "reviews-grafana"]["data"]
    assert shipped == {file.name: file.read_text() for file in (OBSERVE / "grafana").iterdir()}


DOCS = OBSERVE.parents[1] / "docs"
GUIDE = (DOCS / "deploy.md").read_text()
TUTORIAL = (DOCS / "tutorial" / "cluster.md").read_text()
BLOCK = re.compile(r"^ *```yaml\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
VALUES = [dedent(block) for page in (GUIDE, TUTORIAL) for block in BLOCK.findall(page)]


@pytest.mark.parametrize("number", range(len(VALUES)))
def test_the_values_in_the_guide_are_values_of_the_chart(number, tmp_path):
    """What a reader copies renders, alone or over the least that a release needs."""
    (tmp_path / "values.yaml").write_text(VALUES[number])
    answer = template("small", "--values", str(tmp_path / "values.yaml"))
    assert answer.returncode == 0, answer.stderr


def test_secrets_in_the_guide_have_the_files_that_its_settings_name():
    """Names of Secrets and their keys fit the values, so that each file is there."""
    (values,) = [values for block in VALUES if "secrets" in (values := yaml.safe_load(block))]
    made = dict(re.findall(r"create secret generic (\S+)((?: --from-\S+)+)", GUIDE))
    there = {
        f"/run/secrets/{name}/{key}"
        for name, secret in values["secrets"].items()
        for key in re.findall(r"--from-file=(\S+)", made[secret])
    }
    asked = set(re.findall(r"_file: (\S+)", yaml.safe_dump(values["settings"])))
    assert asked == there
    assert "--from-literal=token=" in made[values["dashboard"]["tokenSecret"]]
