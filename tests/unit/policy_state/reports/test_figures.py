"""Figures from the holdout and from confidence: by hand on a few texts."""

from dataclasses import replace

import pytest

from policy_state.algorithms.base import build
from policy_state.algorithms.settings import PolicySettings
from policy_state.reports.accuracy import estimated_accuracy
from policy_state.reports.domain import DomainReport, domain_report
from policy_state.reports.holdout import holdout_of
from policy_state.stats import ExitStats
from policy_state.store.values import DomainSnapshot, PolicyMeta

LAYERS = (3, 6, 12)
ROWS = [(0, 1, 1), (1, 1, 1), (0, 1, 0), (1, 1, 1)]
STATS = ExitStats.from_texts(
    ROWS,
    exits=3,
    credits=[(0, 300, 0), (0, 0, 0), (0, 500, 200), (0, 0, 0)],
    scores=[(600, 700, 900)] * 4,
    chosen=[None, 1, 1, 0],
)


def report(stats: ExitStats, *, calibrated: bool = True, classes: int = 2) -> DomainReport:
    """Return the report of a domain with these counters."""
    meta = PolicyMeta("p", "f1", LAYERS, calibrated=calibrated, classes=classes)
    rules = build(PolicySettings(), LAYERS, credits=calibrated)
    return domain_report("d", DomainSnapshot(stats, 0, 5), meta, rules, pool=None)


def test_the_holdout_compares_what_was_chosen_with_full_depth() -> None:
    """Of three texts one would have been sent another label; layers are those behind the exits."""
    found = holdout_of(STATS, LAYERS)
    assert found is not None
    assert found.texts == 3
    assert found.agreement.share == pytest.approx(2 / 3)
    assert found.layers_saved.share == pytest.approx((9 + 6 + 6) / 36)
    for share in (found.agreement, found.layers_saved):
        assert 0 <= share.low < share.share < share.high <= 1
        assert share.within == max(share.high - share.share, share.share - share.low)
    assert holdout_of(ExitStats.from_texts(ROWS, exits=3), LAYERS) is None


@pytest.mark.parametrize(("classes", "guessed"), [(2, 0.1), (5, 0.1 / 4)])
def test_accuracy_is_that_of_the_last_exit_times_agreement(classes: int, guessed: float) -> None:
    """Plus what an exit that differs gets right of the last one's errors, by the classes."""
    found = estimated_accuracy(STATS, classes=classes)
    assert found is not None
    agreements = (3 / 4, 3 / 4, 1)
    assert [share.share for share in found] == pytest.approx(
        [0.9 * same + guessed * (1 - same) for same in agreements]
    )
    assert estimated_accuracy(ExitStats.zeros(3), classes=classes) is None


def test_a_change_of_label_is_worth_its_credits() -> None:
    """Per duel, of calibrated models only; the first exit has none."""
    found = report(STATS)
    assert [row.worth for row in found.exits] == [None, pytest.approx(0.4), pytest.approx(0.2)]
    assert found.exits[2].accuracy is not None
    assert found.to_dict()["holdout"]["agreement"]["texts"] == 3
    bare = report(ExitStats.from_texts(ROWS, exits=3), calibrated=False)
    assert {(row.worth, row.accuracy) for row in bare.exits} == {(None, None)}
    assert bare.holdout is None


def test_texts_that_the_gate_let_go_saved_layers_too() -> None:
    """They stopped where they were let go, and count as texts of the domain."""
    sure = replace(ExitStats.zeros(3), gated=(1, 0, 0))
    found = report(ExitStats.from_texts([(1, 1, 1)], exits=3) + sure)
    assert (found.texts, found.layers_saved) == (2, 9 / 24)
    assert [row.played for row in found.exits] == [1, 0, 1]
