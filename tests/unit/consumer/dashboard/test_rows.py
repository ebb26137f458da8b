"""Rows of the dashboard, which are worked out for many domains at once."""

from dataclasses import replace

from consumer.dashboard.index import rows_of
from policy_state.algorithms.base import build
from policy_state.labelled import LabelledDuels
from policy_state.reports.domain import exit_of
from policy_state.stats import ExitStats
from policy_state.store.values import DomainSnapshot, OpenedPolicy, PolicyMeta


def test_a_row_has_the_exit_that_labels_correct() -> None:
    """It is the one that texts of the domain get, with labels and without."""
    meta = PolicyMeta("p", "f1", (1, 6, 12), calibrated=True)
    credits = [(0, 600, 0)] * 500 + [(0, 0, 0)] * 500
    texts = [(0, 1, 1)] * 500 + [(0, 0, 0)] * 500
    stats = ExitStats.from_texts(texts, exits=3, credits=credits)
    plain = DomainSnapshot(stats, 0, 5)
    labels = LabelledDuels(500, (0, 500, 0), (0, 200, 0), (0, 300, 0))
    snapshots = {"plain": plain, "labelled": replace(plain, labels=labels)}
    rows = rows_of(snapshots, OpenedPolicy("p", meta, False), pool=stats, promise_of=lambda _: 0.0)
    rules = build(meta.settings, meta.layers, credits=True)
    assert {row.domain: row.exit for row in rows} == {"plain": 1, "labelled": 0}
    assert all(row.exit == exit_of(snapshots[row.domain], rules, pool=stats) for row in rows)
