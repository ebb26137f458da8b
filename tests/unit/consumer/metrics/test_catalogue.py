"""Names, types, labels and buckets of metrics are promises, and the docs tell all of them."""

import re
from pathlib import Path

from consumer.metrics.catalogue import METRICS

GOLDEN = Path(__file__).with_name("metrics.txt")
PAGE = Path(__file__).parents[4] / "docs" / "observing.md"


def line(metric):
    """Return what of a metric others depend on."""
    return " ".join(
        [metric.name, metric.kind, *metric.labels, *(f"le={bound:g}" for bound in metric.buckets)]
    )


def test_no_metric_changes_unnoticed():
    """Dashboards and alerts of others go by them: who changes one changes this file, too."""
    assert [line(metric) for metric in METRICS] == GOLDEN.read_text().splitlines()


def test_names_follow_the_conventions_of_prometheus():
    """Counters end in _total, and what has a unit names the base unit."""
    for metric in METRICS:
        assert re.fullmatch(r"offramp_[a-z_]+[a-z]", metric.name)
        assert metric.name.endswith("_total") == (metric.kind == "counter")
        assert not re.search(r"_(ms|millis|minutes|kb|mb|percent)(_|$)", metric.name)


def test_the_page_has_each_metric_as_it_is():
    """The table says of each metric what the code says."""
    rows = re.findall(
        r"^\| `(offramp_\w+)` \| (\w+) \| (.*?) \| (.*) \|$", PAGE.read_text(), re.MULTILINE
    )
    assert rows == [
        (each.name, each.kind, ", ".join(f"`{label}`" for label in each.labels), each.meaning)
        for each in METRICS
    ]
