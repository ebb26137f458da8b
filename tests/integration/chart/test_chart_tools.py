"""What the chart renders, read by the tools that judge it, and by the schemas of what takes it."""

import importlib.util
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

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


EXAMPLES = [  # what of the examples is Kubernetes' own
    thing
    for name in ("backup.yaml", "redis.yaml")
    for thing in yaml.safe_load_all((CHART.parent / "examples" / name).read_text())
    if thing["kind"] != "Redis"
]


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
    package = importlib.util.find_spec("kubernetes_validate")  # importing it takes seconds
    if package is None:
        pytest.skip("the package kubernetes-validate, which has the schemas, is not installed")
    (home,) = package.submodule_search_locations or [""]
    builtin = Path(home, "kubernetes-json-schema")
    custom = custom_schemas()
    things = [thing for case in CASES for thing in objects(case).values()]
    names = {schema_name(thing) for thing in [*things, *EXAMPLES]}
    folders = {}
    for version in (OLDEST, NEWEST):
        folder = folders[version] = tmp_path_factory.mktemp(f"v{version}")
        source = builtin / f"v{version}-local-strict"
        definitions = json.loads((source / "_definitions.json").read_text())["$defs"]
        for name in names:
            schema = custom.get(name) or whole(source / f"{name}.json", definitions)
            (folder / f"{name}.json").write_text(json.dumps(schema))
    return folders


def whole(file, definitions):
    """Return a schema with the definitions that it needs, which lie in another file."""
    text = re.sub(r'"[^"#]*_definitions.json#', '"#', file.read_text())
    needed: dict[str, Any] = {}
    more = {text}
    while more:
        found = {name for part in more for name in re.findall(r'#/\$defs/([^"]+)"', part)}
        new = {name: definitions[name] for name in found - needed.keys()}
        needed |= new
        more = {json.dumps(definition) for definition in new.values()}
    schema = json.loads(text) | {"$defs": needed}
    schema.pop("$id", None)
    return schema


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_every_object_is_what_kubernetes_takes(version, schemas):
    """Every field of every object is one of the oldest and the newest API; operators' too."""
    cases = [case for case in CASES if version == NEWEST or case not in SINCE_1_34]
    text = "".join([*map(rendered, cases), "---\n", yaml.safe_dump_all(EXAMPLES)])
    location = f"{schemas[version]}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json"
    command = [go_tool("kubeconform"), "-strict", "-summary", "-output", "json"]
    result = run(*command, "-schema-location", location, input=text)
    assert result.returncode == 0, result.stdout + result.stderr
    summary = json.loads(result.stdout)["summary"]
    valid = sum(len(objects(case)) for case in cases) + len(EXAMPLES)
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


def test_the_queries_for_scaling_say_how_much_work_there_is(tmp_path):
    """Seconds that wait, of all workers; and how many of them would be busy with what comes in."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("no promtool: `make debian` installs it")
    triggers = objects("full")["ScaledObject", "reviews-worker"]["spec"]["triggers"]
    backlog, busy = (trigger["metadata"]["query"] for trigger in triggers[:2])
    ours, others = 'job="offramp/streams/reviews"', 'job="offramp/streams/others"'
    series = {  # two workers of pace 100; 150 records come in each second, and 60 s of work wait
        f'offramp_backlog_seconds{{{ours},worker="0"}}': "20+0x60",
        f'offramp_backlog_seconds{{{ours},worker="1"}}': "40+0x60",
        f'offramp_backlog_seconds{{{others},worker="0"}}': "900+0x60",
        f'offramp_pace_records_per_second{{{ours},worker="0"}}': "100+0x60",
        f'offramp_pace_records_per_second{{{ours},worker="1"}}': "100+0x60",
        f'offramp_records_total{{{ours},outcome="predicted",instance="0"}}': "0+1200x60",
        f'offramp_records_total{{{ours},outcome="predicted",instance="1"}}': "0+1050x60",
        f'offramp_records_total{{{others},outcome="predicted",instance="0"}}': "0+9999x60",
    }
    idle = {name: "0+0x60" for name in series if "backlog" not in name}
    cases = [(series, 60, 1.5), ({**series, **idle}, 60, 0)]
    tests = [
        {
            "interval": "15s",
            "input_series": [{"series": name, "values": values} for name, values in given.items()],
            "promql_expr_test": [
                {
                    "expr": expr,
                    "eval_time": "10m",
                    "exp_samples": [{"labels": "{}", "value": value}],
                }
                for expr, value in ((backlog, waits), (busy, works))
            ],
        }
        for given, waits, works in cases
    ]
    (tmp_path / "tests.yaml").write_text(yaml.safe_dump({"rule_files": [], "tests": tests}))
    result = run(promtool, "test", "rules", tmp_path / "tests.yaml")
    assert result.returncode == 0, result.stdout + result.stderr
