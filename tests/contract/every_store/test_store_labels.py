"""One contract for every store: labels that correct what a domain's steps are worth."""

import pytest

from policy_state.errors import DomainNotFound, InvalidInput
from policy_state.health.doctor import examine
from policy_state.labelled import LabelledDuels
from policy_state.store.admin import Label, Pin, PolicyAdmin, Remove, Reset, Unlabel
from policy_state.store.values import DomainSnapshot
from tests.support.policies.counted import DEEP, META, ONE, MakeStore, balance, change, part

LABELS = LabelledDuels(60, (0, 40, 9, 0), (0, 30, 2, 0), (0, 10, 7, 0))
LATER = LabelledDuels(9, (0, 1, 0, 9), (0, 1, 0, 4), (0, 0, 0, 5))


def test_labels_reach_all_with_the_next_snapshot(make_store: MakeStore) -> None:
    """Every answer has them from then on; counters are the same, and counting goes on."""
    store, other = make_store(), make_store()
    store.open(META)
    other.open(META)
    store.apply([part(0, 1, {"hotels": ONE, "books": ONE})])
    labelled = change(store, "hotels", Label(LABELS))
    assert (labelled.labels, labelled.stats) == (LABELS, ONE)
    applied = other.apply([part(1, 2, {"hotels": DEEP})], also_read=["books"])
    assert applied.snapshots["hotels"].labels == LABELS
    assert applied.snapshots["hotels"].stats == ONE + DEEP
    assert applied.snapshots["books"].labels is None
    assert other.read(["hotels"])["hotels"].labels == LABELS


def test_labels_take_the_place_of_those_before(store: PolicyAdmin) -> None:
    """Applied twice they count once, and the second time is no change; others replace them."""
    store.apply([part(0, 1, {"hotels": ONE})])
    once = change(store, "hotels", Label(LABELS))
    again = store.change("hotels", Label(LABELS), by="anna", reason="again")
    assert (again.done, again.after) == (False, once)
    assert change(store, "hotels", Label(LATER)).labels == LATER
    assert change(store, "hotels", Unlabel()).labels is None
    assert not store.change("hotels", Unlabel(), by="anna", reason="again").done
    assert [entry.action for entry in store.audit()] == ["unlabel", "label", "label"]
    first = store.audit()[-1]
    assert (first.by, first.reason, first.before) == ("anna", "a good reason", None)
    said = first.detail["labels"]
    assert (said["texts"], list(said["duels"]), list(said["wins"]), list(said["losses"])) == (
        60, [0, 40, 9, 0], [0, 30, 2, 0], [0, 10, 7, 0],
    )  # fmt: skip


@pytest.mark.parametrize("forgotten", [Reset(), Reset(keep=0.5), Remove()])
def test_labels_go_with_what_was_learnt(store: PolicyAdmin, forgotten: Reset | Remove) -> None:
    """After a reset, also one that keeps a share, and after a removal there are none."""
    store.apply([part(0, 1, {"hotels": ONE + ONE})])
    change(store, "hotels", Label(LABELS))
    assert change(store, "hotels", forgotten).labels is None
    assert store.apply([part(1, 2, {"hotels": ONE})]).snapshots["hotels"].labels is None
    assert balance(store) == 0


def test_labels_outlive_a_fresh_count(store: PolicyAdmin) -> None:
    """They are what people set: counters start at zero, and labels stay with the domain."""
    store.apply([part(0, 1, {"hotels": ONE})])
    change(store, "hotels", Label(LABELS))
    store.restart(by="anna", reason="")
    assert store.read(["hotels"])["hotels"].labels == LABELS
    assert store.apply([part(0, 1, {"hotels": ONE})]).snapshots["hotels"].labels == LABELS


def test_a_labelled_domain_stands_with_those_that_people_set(store: PolicyAdmin) -> None:
    """It comes before busier domains, as pinned ones do, so it does not go when it is idle."""
    store.apply([part(0, 1, {"hotels": ONE})])
    store.apply([part(1, 2, {"books": ONE})])
    store.apply([part(2, 3, {"music": ONE})])
    change(store, "hotels", Label(LABELS))
    change(store, "books", Pin(1))
    assert set(store.domains(limit=2)) == {"hotels", "books"}
    change(store, "hotels", Unlabel())
    assert store.domains(limit=2)[0] == "books"


def test_labels_that_cannot_be_are_refused(store: PolicyAdmin) -> None:
    """Labels of other exits, and of a domain that has no texts, change nothing."""
    with pytest.raises(DomainNotFound):
        change(store, "hotels", Label(LABELS))
    store.apply([part(0, 1, {"hotels": ONE})])
    with pytest.raises(InvalidInput, match=r"labels of 2 exits, the policy has exits 0\.\.3"):
        change(store, "hotels", Label(LabelledDuels(1, (0, 1), (0, 1), (0, 0))))
    assert store.audit() == ()


def test_lost_labels_are_found(store: PolicyAdmin) -> None:
    """A domain that the audit calls labelled, and that has no labels, is a problem with a cure."""
    store.apply([part(0, 1, {"hotels": ONE})])
    change(store, "hotels", Label(LABELS))
    assert not examine(store).findings
    store.load({"hotels": DomainSnapshot(ONE, 0, 5)}, replace=True)
    (found,) = (each for each in examine(store).findings if each.check == "labels")
    assert (found.subject, found.fix) == ("hotels", "offramp policy evaluate --apply")
    change(store, "hotels", Reset())
    assert "labels" not in {each.check for each in examine(store).findings}
