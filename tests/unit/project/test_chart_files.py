"""The files of the Helm chart say what other files say."""

import json
import re
from pathlib import Path

import yaml

import consumer
from deploy.helm.derived import CHART, described, readme, schema

REPAIR = "run `.venv/bin/python -m deploy.helm.derived`"


def test_the_schema_knows_the_settings_of_today():
    """Each setting may be given in the values, and no other name."""
    text = (CHART / "values.schema.json").read_text(encoding="utf-8")
    assert schema(text) == text, REPAIR


def test_the_readme_lists_the_values_of_today():
    """Every value stands there with its default and its meaning."""
    text = (CHART / "README.md").read_text(encoding="utf-8")
    values = (CHART / "values.yaml").read_text(encoding="utf-8")
    assert readme(text, values) == text, REPAIR
    assert all(f"| `{name}` |" in text for name, _, _ in described(values))


def leaves(tree, described_ones, path=""):
    """Yield the names of values that nothing describes."""
    for name, value in tree.items():
        here = f"{path}.{name}" if path else name
        if isinstance(value, dict) and here not in described_ones:
            yield from leaves(value, described_ones, here)
        elif here not in described_ones:
            yield here


def test_every_value_has_its_comment():
    """A value without a comment in values.yaml would be missing in the README."""
    values = (CHART / "values.yaml").read_text(encoding="utf-8")
    assert list(leaves(yaml.safe_load(values), {name for name, _, _ in described(values)})) == []


def closed(part, path="values"):
    """Yield where the schema lets any name pass, though the chart knows all of them."""
    if isinstance(part, dict):
        if "properties" in part and "additionalProperties" not in part:
            yield path
        for name, item in part.items():
            yield from closed(item, f"{path}.{name}")


def test_the_schema_lets_no_unknown_name_pass():
    """A misspelt value is an error, not silence."""
    assert list(closed(json.loads((CHART / "values.schema.json").read_text()))) == []


def test_the_chart_has_the_version_of_the_package():
    """Chart, images and package are released together."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert chart["appVersion"] == chart["version"] == consumer.__version__
    tags = [values["image"]["tag"], values["control"]["image"]["tag"]]
    assert tags == [f"{consumer.__version__}-cpu", f"{consumer.__version__}-control"]


def test_what_the_chart_ships_has_one_home():
    """Rules and dashboards are those of deploy/observe, by links and not as copies."""
    for name in ("rules.yaml", "grafana"):
        path = CHART / "files" / name
        assert path.is_symlink()
        assert path.resolve() == Path(CHART.parents[1] / "observe" / name).resolve()
    assert not re.search("deploy/observe", (CHART / ".helmignore").read_text())
