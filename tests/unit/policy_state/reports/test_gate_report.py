"""What is said of a gate: open, closed for one reason or another, or broken."""

from dataclasses import replace

import pytest

from policy_state.algorithms.base import build
from policy_state.algorithms.settings import PolicySettings
from policy_state.errors import InvalidInput
from policy_state.reports.domain import DomainReport, broken_gates, domain_report
from policy_state.reports.explain import explain
from policy_state.stats import ExitStats
from policy_state.store.values import DomainSnapshot, PartitionDeltas, PolicyMeta
from tests.support.memory.store import MemoryStore

META = PolicyMeta(
    "p", "f1", (3, 6, 12), settings=PolicySettings(gate=0.99, cost=(1, 1, 1)), calibrated=True
)
MET = replace(ExitStats.zeros(3), gated=(300, 0, 100))


def audited(good: int, bad: int) -> ExitStats:
    """Return counters of texts that stopped at the last exit; a gate at 995 changes the bad."""
    rows = [(1, 1, 1)] * good + [(0, 1, 1)] * bad
    return ExitStats.from_texts(
        rows, exits=3, scores=[(999, 999, 999)] * len(rows), credits=[(0, 0, 0)] * len(rows)
    )


def report(stats: ExitStats, meta: PolicyMeta = META) -> tuple[DomainReport, str]:
    """Return the report of counters, and the explanation."""
    rules = build(meta.settings, meta.layers, credits=meta.calibrated)
    snapshot = DomainSnapshot(stats, 0, 5)
    found = domain_report("d", snapshot, meta, rules, pool=None)
    return found, "\n".join(explain(found, snapshot, settings=meta.settings))


@pytest.mark.parametrize(
    ("stats", "said", "warned"),
    [
        (
            audited(150, 0),
            "closed until 200 texts have stopped at exit 2 without it. So far 150",
            0,
        ),
        (audited(400, 0) + MET, "open: texts stop before exit 2 at a score of 0.6 or more", 0),
        (audited(400, 0) + MET, "saved 56.2% of the layers up to there, for 400 texts", 0),
        (
            audited(380, 20),
            "closed, because no score is known to be high enough: at 0.99 5.00%",
            0,
        ),
        (audited(380, 20) + MET, "Careful: its gate does not keep the promise of 0.99", 1),
    ],
)
def test_a_gate_says_what_it_does_and_why(stats: ExitStats, said: str, warned: int) -> None:
    """Whether it is open, what that saves and changes, and a warning only where it broke."""
    found, text = report(stats)
    assert said in text
    assert sum("gate" in warning for warning in found.warnings) == warned


def test_a_policy_without_a_gate_says_nothing_of_it() -> None:
    """Nor does one whose model is not calibrated: it has none, whatever the setting says."""
    for meta in (replace(META, settings=PolicySettings()), replace(META, calibrated=False)):
        found, text = report(audited(400, 0), meta)
        assert found.gate is None
        assert " gate " not in text


def test_broken_gates_are_found_among_all_domains() -> None:
    """And no others: for the doctor, which names them."""
    store = MemoryStore()
    store.open(META)
    deltas = {"broken": audited(380, 20) + MET, "kept": audited(400, 0) + MET}
    store.apply([PartitionDeltas("t1", 0, 0, 1600, deltas)])
    ((name, warning),) = broken_gates(store, lambda _: 0.99)
    assert name == "broken"
    assert "has closed" in warning


@pytest.mark.parametrize("promise", [-0.1, 0.3, 0.99995, 1.0, float("nan")])
def test_a_promise_is_a_share_of_most_texts(promise: float) -> None:
    """A promise of all texts cannot be shown, and one of few is a mistake."""
    with pytest.raises(InvalidInput, match="gate"):
        PolicySettings(gate=promise)
