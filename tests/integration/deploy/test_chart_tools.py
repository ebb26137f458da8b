"""What the chart renders, read by the tools that judge it, and by the schemas of what takes it."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from deploy.helm.derived import CHART
from tests.support.chart.go_tools import go_tool, module_folder
from tests.support.chart.render import CASES, KUBERNETES, helm, objects, rendered

OLDEST, NEWEST = "1.30.0", "1.37.0"  # of Kubernetes, that the chart is for
SINCE_1_34 = {"claims"}  # resource claims
CRDS = {
    "keda": ["config/crd/bases/keda.sh_scaledobjects.yaml"],
    "prometheus-operator": [
        "example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml",
        "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
    ],
}
UNHEEDED = {  # rules of kube-score that the chart breaks on purpose
    "container-image-pull-policy": "no tag moves, so what the node has is what was asked for",
    "statefulset-has-host-podantiaffinity": "topology spread does that, over zones too",
    "deployment-replicas": "the dashboard's sessions are known to one process",
    "deployment-strategy": "the same",
    "pod-probes-identical": "the dashboard has one page that needs no token",
}


def run(*command, **more):
    return subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=False, timeout=120, **more
    )


@pytest.mark.parametrize("case", CASES)
def test_helm_has_nothing_to_say(case):
    """The chart keeps to helm's rules, down to its warnings."""
    values = CHART / "ci" / f"{case}-values.yaml"
    result = helm("lint", CHART, "--strict", "--kube-version", KUBERNETES, "--values", values)
    assert result.returncode == 0, result.stdout + result.stderr


def test_a_package_holds_rules_and_dashboards_and_renders_the_same(tmp_path):
    """What is installed from an archive is what is installed from the folder."""
    result = helm("package", CHART, "--destination", tmp_path)
    assert result.returncode == 0, result.stderr
    (archive,) = tmp_path.iterdir()
    values = CHART / "ci" / "full-values.yaml"
    where = ("--namespace", "streams", "--kube-version", KUBERNETES, "--values", values)
    assert helm("template", "reviews", archive, *where).stdout == rendered("full")


def schema_name(thing):
    version = re.sub(r"^([^./]*)[^/]*/", r"\1-", thing["apiVersion"])
    return f"{thing['kind'].lower()}-{version}"


def closed(schema):
    """Return a CRD's schema in which a name that it does not list is an error."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    strict = {name: closed(item) for name, item in schema.items()}
    if "properties" in schema and "x-kubernetes-preserve-unknown-fields" not in schema:
        strict.setdefault("additionalProperties", False)
    return strict


def custom_schemas():
    """Return the schemas of KEDA and the Prometheus operator, by the names of their objects."""
    found = {}
    for module, files in CRDS.items():
        folder = module_folder(module)
        if folder is None:
            pytest.skip(f"the module {module} is not in Go's cache, and no proxy has it")
        for file in files:
            crd = yaml.load((folder / file).read_text(), yaml.CSafeLoader)
            for version in crd["spec"]["versions"]:
                group, kind = crd["spec"]["group"], crd["spec"]["names"]["kind"]
                thing = {"apiVersion": f"{group}/{version['name']}", "kind": kind}
                found[schema_name(thing)] = closed(version["schema"]["openAPIV3Schema"])
    return found


@pytest.fixture(scope="module")
def schemas(tmp_path_factory):
    """Folders with a JSON schema for each kind that the chart renders, by version of Kubernetes."""
    package = pytest.importorskip("kubernetes_validate")
    builtin = Path(package.__file__).parent / "kubernetes-json-schema"
    custom = custom_schemas()
    names = {schema_name(thing) for case in CASES for thing in objects(case).values()}
    folders = {}
    for version in (OLDEST, NEWEST):
        folder = folders[version] = tmp_path_factory.mktemp(f"v{version}")
        for name in {"_definitions", *names}:
            if name in custom:
                schema = custom[name]
            else:
                text = (builtin / f"v{version}-local-strict" / f"{name}.json").read_text()
                # The package's references are to a web server's root; here files lie side by side.
                schema = json.loads(text.replace("/api/_definitions", "_definitions"))
                schema.pop("$id", None)
            (folder / f"{name}.json").write_text(json.dumps(schema))
    return folders


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_every_object_is_what_kubernetes_takes(version, schemas):
    """Every field of every object is one of the oldest and the newest API; operators' too."""
    cases = [case for case in CASES if version == NEWEST or case not in SINCE_1_34]
    location = f"{schemas[version]}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json"
    command = [go_tool("kubeconform"), "-strict", "-summary", "-output", "json"]
    result = run(*command, "-schema-location", location, input="".join(map(rendered, cases)))
    assert result.returncode == 0, result.stdout + result.stderr
    summary = json.loads(result.stdout)["summary"]
    valid = sum(len(objects(case)) for case in cases)
    assert summary == {"valid": valid, "invalid": 0, "errors": 0, "skipped": 0}


@pytest.mark.parametrize("case", [case for case in CASES if case != "claims"])
def test_kube_score_has_nothing_to_say(case):
    """The objects keep to kube-score's rules, but for those that are broken on purpose."""
    ignored = [part for name in UNHEEDED for part in ("--ignore-test", name)]
    result = run(
        *(go_tool("kube-score"), "score", "--output-format", "ci", "--exit-one-on-warning"),
        *("--kubernetes-version", "v1.34", "--ignore-container-cpu-limit", *ignored, "-"),
        input=rendered(case),
    )
    bad = [line for line in result.stdout.splitlines() if line.startswith(("[CRIT", "[WARN"))]
    assert bad == []
    assert result.returncode == 0, result.stdout + result.stderr


def test_promtool_takes_the_rules_as_they_are_installed(tmp_path):
    """The PrometheusRule holds rules that Prometheus loads."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("no promtool: `make debian` installs it")
    (tmp_path / "rules.yaml").write_text(
        yaml.safe_dump(objects("full")["PrometheusRule", "reviews"]["spec"])
    )
    result = run(promtool, "check", "rules", tmp_path / "rules.yaml")
    assert result.returncode == 0, result.stdout + result.stderr
