"""The vertical lines of a domain's plots: what changed between two samples."""

from dataclasses import replace

import pytest

from consumer.dashboard.past import Moment, marks_of, plots
from policy_state.algorithms.base import build
from policy_state.reports.domain import domain_report
from policy_state.stats import ExitStats
from policy_state.store.admin import AuditEntry
from policy_state.store.values import DomainSnapshot, PolicyMeta

META = PolicyMeta("default", "f1", (1, 6, 12))
RULES = build(META.settings, META.layers)
CHANGE = AuditEntry(2_500, "configure", None, "anna", "too dear", {"cost_weight": [0.1, 0.3]})


def moments():
    """Return a domain at five times, each a second after the one before."""
    found = []
    for at in range(5):
        stats = ExitStats.from_texts([(0, 1, 1)] * 8 * (at + 2), exits=3)
        snapshot = DomainSnapshot(stats, 0, 5)
        report = domain_report("hotels", snapshot, META, RULES, pool=stats)
        found.append(Moment(1_000 * (at + 1), 0, report))
    return found


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({}, "cost"),
        ({"detail": {"tolerance": [None, 0.02]}}, "cost"),
        ({"detail": {"algorithm": ["default", "uee-ucb"]}}, "cost"),
        ({"detail": {"domains": [1, 2]}}, None),
        ({"action": "import", "detail": {}}, "model"),
        ({"action": "rebuild", "detail": {}}, "model"),
        ({"action": "reset", "automatic": True}, "drift"),
        ({"action": "reset"}, "reset"),
    ],
)
def test_a_change_is_a_line_between_the_samples_around_it(change, kind):
    """In each plot, with the reason; what concerns no choice is not drawn."""
    entry = replace(CHANGE, **change)
    found = list(marks_of(moments(), [entry]))
    assert [(mark.kind, mark.text) for mark in found] == ([(kind, "too dear")] if kind else [])
    drawn = plots(moments(), [entry])
    assert len(drawn) == 3
    for plot in drawn:
        assert list(plot.marks) == found
        ticks = [x for x, _ in plot.x_ticks]
        assert not found or ticks[1] < found[0].x < ticks[2]
