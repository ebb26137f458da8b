"""Words for people: intervals and the reasons of an exit."""

import pytest

from policy_state.diagnostics import Share
from policy_state.explaining import explain
from policy_state.policy import UeeUcb
from policy_state.report import domain_report
from policy_state.stats import ExitStats
from policy_state.store import DomainSnapshot

LAYERS = (2, 6, 12)
COSTS = (0.1 / 6, 0.05, 0.1)


def said(stats: ExitStats, **record: object) -> str:
    """Return the explanation of a domain with these counters."""
    snapshot = DomainSnapshot(stats, 0, 5, **record)  # type: ignore[arg-type]
    report = domain_report("d", snapshot, LAYERS, UeeUcb(COSTS))
    return explain(report, snapshot, cost_weight=0.1)


@pytest.mark.parametrize(
    ("hits", "trials", "low", "high"),
    [(0, 10, 0.0, 0.278), (5, 20, 0.112, 0.469), (10, 10, 0.722, 1.0)],
)
def test_the_interval_is_wilsons(hits: int, trials: int, low: float, high: float) -> None:
    """Known values of the 95 % interval; at the ends it stays a share."""
    share = Share.of(hits, trials)
    assert share is not None
    assert (share.low, share.high) == pytest.approx((low, high), abs=0.001)
    assert Share.of(0, 0) is None


def test_what_would_change_it_is_said() -> None:
    """The margin to the runner-up, and the cost weight at which the two would tie."""
    stats = ExitStats((900, 900, 900), (0, 300, 320), (0, 0, 900))
    text = said(stats)
    assert "After 900 texts exit 1 (layer 6)" in text
    assert "runner-up is exit 2 (layer 12), 0.0278 behind" in text
    tie = (320 - 300) / 900 / (12 / 12 - 6 / 12)
    assert f"at a cost weight below {tie:.3g}; the weight is 0.1." in text


def test_what_operators_did_comes_first() -> None:
    """A pinned or frozen domain is explained by that, then by its counters."""
    stats = ExitStats((9, 9, 9), (0, 3, 3), (0, 0, 9))
    text = said(stats, pin=2, pin_reason="a contract", frozen=True)
    assert text.startswith("An operator pinned it to exit 2, layer 12 (a contract). It is frozen:")


def test_a_domain_that_is_not_known_well_says_so() -> None:
    """Without texts, or with exits never observed, no margin is made up."""
    assert "No text was counted" in said(ExitStats.zeros(3))
    text = said(ExitStats((5, 0, 0), (0, 0, 0), (5, 0, 0)))
    assert "exit 1, 2 was never observed" in text
    assert "runner-up" not in text
