"""One contract for every store: the doctor finds what is inconsistent."""

from collections.abc import Mapping

from policy_state.health.doctor import examine
from policy_state.health.findings import Severity
from policy_state.stats import ExitStats
from policy_state.store.admin import PolicyAdmin
from policy_state.store.offsets import GAPS_MAX
from policy_state.store.values import DomainSnapshot
from tests.support.policies.counted import ONE, part


def test_the_doctor_names_what_does_not_hang_together(store: PolicyAdmin) -> None:
    """Each broken invariant is one finding, with its subject."""
    store.apply([part(5, 9, {"good": ONE})])
    broken = {
        "deeper": ExitStats((2, 3, 0, 0), (0, 0, 0, 0), (2, 0, 0, 0)),
        "disagrees": ExitStats((2, 1, 0, 0), (0, 2, 0, 0), (1, 1, 0, 0)),
        "plays": ExitStats((2, 1, 0, 0), (0, 0, 0, 0), (1, 0, 0, 0)),
    }
    store.load({n: DomainSnapshot(s, 0, None) for n, s in broken.items()}, replace=True)
    examination = examine(store, ends={"t1/0": 8})
    found = {(f.severity, f.check, f.subject) for f in examination.findings}
    assert found == {
        (Severity.PROBLEM, "counters", "deeper"),
        (Severity.PROBLEM, "counters", "disagrees"),
        (Severity.PROBLEM, "counters", "plays"),
        (Severity.PROBLEM, "watermark", "t1/0"),
        (Severity.PROBLEM, "gaps", "t1/0"),
    }
    assert not examination.healthy
    assert (examination.domains, examination.partitions) == (4, 1)
    assert [f.check for f in examine(store, ends={}).findings][-2:] == ["gaps", "watermark"]


def test_the_doctor_holds_what_is_counted_against_what_is_committed(store: PolicyAdmin) -> None:
    """What is committed must be counted; a gap of what is not committed yet has time."""
    store.apply([part(0, 9, {"good": ONE}), part(12, 20, {"good": ONE})])

    def found(committed: Mapping[str, int]) -> set[tuple[str, str]]:
        ends = {"t1/0": 30, "t1/1": 30}
        return {
            (f.check, f.subject) for f in examine(store, ends=ends, committed=committed).findings
        }

    assert found({"t1/0": 9}) == set()
    assert found({"t1/0": 12}) == found({"t1/0": 20}) == {("gaps", "t1/0")}
    store.apply([part(9, 12, {})])
    assert found({"t1/0": 20}) == set()
    assert found({"t1/0": 25}) == {("gaps", "t1/0")}  # of a worker that ended with what it held
    assert found({"t1/0": 20, "t1/1": 3}) == {("gaps", "t1/1")}


def test_gaps_that_cannot_be_kept_are_a_problem(store: PolicyAdmin) -> None:
    """More gaps than are kept: what the smallest held is said to be lost until all is restarted."""
    parts = [part(2 * number, 2 * number + 1, {}) for number in range(GAPS_MAX + 4)]
    store.apply(parts)
    assert store.totals().lost == 3
    (mark,) = store.watermarks().values()
    assert len(mark.gaps) == GAPS_MAX
    assert {f.check for f in examine(store).findings} == {"lost", "gaps"}
    assert not examine(store).healthy
    store.restart(by="anna", reason="")
    assert store.totals().lost == 0
