"""Alert rules and dashboards ask for what workers export, and each alert has its runbook."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from consumer.metrics.catalogue import BY_NAME, METRICS, Metric
from tests.support.workers.queries import (
    OBSERVE,
    labels_in,
    queries,
    recorded_in,
    rules,
    series_in,
    values_in,
)

RUNBOOKS = Path(__file__).parents[3] / "docs" / "runbooks.md"
QUERIES = dict(queries())
OF_PROMETHEUS = {"job", "instance", "le"}  # labels that it adds, or that histograms have
OF_ALERTS = {"alertname", "alertstate"}


def metric_of(series: str) -> Metric | None:
    """Return the metric that a series belongs to."""
    for suffix in ("_bucket", "_sum", "_count"):
        found = BY_NAME.get(series.removesuffix(suffix))
        if series.endswith(suffix) and found and found.kind == "histogram":
            return found
    found = BY_NAME.get(series)
    return found if found and found.kind != "histogram" else None


@pytest.mark.parametrize("where", QUERIES)
def test_a_query_uses_metrics_and_labels_that_there_are(where: str) -> None:
    """A metric or a label that was renamed would leave an alert silent and a panel empty."""
    query = QUERIES[where]
    found = {series: metric_of(series) for series in series_in(query)}
    assert None not in found.values(), found
    known = {label for metric in found.values() if metric for label in metric.labels}
    assert labels_in(query) <= known | OF_PROMETHEUS | OF_ALERTS
    assert recorded_in(query) <= {rule.get("record") for rule in rules()}
    assert found or recorded_in(query)
    for metric in filter(None, found.values()):
        if metric.known:
            assert values_in(query, *metric.labels) <= set(metric.known)


def test_each_alert_has_its_runbook() -> None:
    """The anchor of each alert exists, and no paragraph is about an alert that does not."""
    headings = re.findall(r"^## (\w+)$", RUNBOOKS.read_text(), re.MULTILINE)
    anchors = {heading.lower() for heading in headings}
    alerts = [rule for rule in rules() if "alert" in rule]
    used = set()
    for rule in alerts:
        page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
        assert (page, anchor in anchors) == ("docs/runbooks.md", True), rule["alert"]
        assert rule["annotations"]["summary"]
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert rule["alert"] in RUNBOOKS.read_text() or rule["alert"].lower() == anchor
        used.add(anchor)
    assert used == anchors
    assert len(alerts) == len({rule["alert"] for rule in alerts})


def test_the_dashboard_asks_a_data_source_that_people_choose() -> None:
    """Each panel uses the variable, has a title of its own, and overlaps no other."""
    board = json.loads((OBSERVE / "grafana" / "offramp.json").read_text())
    panels = board["panels"]
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        if panel["type"] != "row":
            assert panel["datasource"]["uid"] == "${datasource}"
        at = panel["gridPos"]
        cells = {(at["x"] + i, at["y"] + j) for i in range(at["w"]) for j in range(at["h"])}
        assert not cells & taken
        assert at["x"] + at["w"] <= 24
        taken |= cells
    assert (
        len({panel["id"] for panel in panels}) == len({p["title"] for p in panels}) == len(panels)
    )


def test_every_metric_that_means_trouble_is_on_the_dashboard_or_in_an_alert() -> None:
    """What a worker reports is looked at by somebody; what is not is named here."""
    used = {metric_of(series) for query in QUERIES.values() for series in series_in(query)}
    left_out = {each.name for each in METRICS} - {metric.name for metric in used if metric}
    assert left_out == {
        "offramp_gated_texts_total",
        "offramp_truncated_texts_total",
        "offramp_gap_offsets_total",
        "offramp_partitions_assigned",
    }


@pytest.mark.parametrize(
    "command",
    [
        ["check", "rules", "rules.yaml"],
        ["test", "rules", "rules_test.yaml"],
        ["check", "config", "prometheus.yaml"],
    ],
)
def test_promtool_accepts_the_rules_and_their_tests(command: list[str]) -> None:
    """Each alert is raised when it should be, and none while all is well; Prometheus loads them."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("needs promtool, which Debian has in the package prometheus")
    done = subprocess.run(
        [promtool, *command], cwd=OBSERVE, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
