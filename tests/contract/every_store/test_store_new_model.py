"""One contract for every store: a new model stops, starts anew, or starts warm from the old one."""

from dataclasses import replace

import pytest

from policy_state.errors import FingerprintMismatch, InvalidInput
from policy_state.labelled import LabelledDuels
from policy_state.stats import ExitStats
from policy_state.store.admin import Label, Pin
from policy_state.store.changes import scaled
from policy_state.store.offsets import Counted
from policy_state.store.values import DomainSnapshot, PolicyMeta
from policy_state.transfer.transfer import export_policy, open_or_start_new, warm_start
from tests.support.policies.counted import META, ONE, MakeStore, part
from tests.support.policies.predicted import count, held, sums, texts


def test_a_warm_start_gives_a_share_to_unseen_domains(make_store: MakeStore) -> None:
    """A new model starts from part of what the old one learnt, where it has nothing of its own."""
    store = make_store()
    store.open(META)
    count(store, texts(1000), 0, 500)
    store.change("hotels", Pin(1), by="anna", reason="")
    source = export_policy(store)
    store.open(PolicyMeta("new", "f2", (2, 4, 6, 8)))
    store.apply([part(0, 1, {"books": ONE})])
    done = warm_start(store, source, weight=0.1, by="anna", reason="")
    assert done.left_out == ("books",)
    assert held(store) == {
        "books": ONE,
        **{name: scaled(sums(texts(1000))[name], 0.1) for name in ("hotels", "旅館")},
    }
    assert store.read(["hotels"])["hotels"].pin is None
    assert store.watermarks() == {"t1/0": Counted(1)}
    for weight, layers in ((0.0, 4), (1.1, 4), (0.5, 3)):
        store.open(PolicyMeta(f"other{layers}", "f3", tuple(range(1, layers + 1))))
        with pytest.raises(InvalidInput):
            warm_start(store, source, weight=weight, by="anna", reason="")


def test_a_warm_start_takes_no_holdout_along(make_store: MakeStore) -> None:
    """How often texts of one model got the label of full depth is no figure of another one."""
    store, old = make_store(), replace(META, calibrated=True)
    store.open(old)
    labels, none = [(0, 1, 1, 0)] * 20, ExitStats.zeros(4)
    learnt = ExitStats.from_texts(labels, exits=4)
    measured = ExitStats.from_texts(labels, exits=4, chosen=[1] * 20)
    assert measured.held != none.held
    store.apply([part(0, 1, {"hotels": measured + replace(none, gated=(4, 4, 4, 4))})])
    source = export_policy(store)
    store.open(replace(old, name="new", fingerprint="f2"))
    warm_start(store, source, weight=0.5, by="anna", reason="")
    assert held(store) == {"hotels": scaled(learnt, 0.5)}


def test_a_warm_start_takes_no_labels_along(make_store: MakeStore) -> None:
    """They say how exits of the old model did, which is no figure of another one."""
    store = make_store()
    store.open(META)
    store.apply([part(0, 1, {"hotels": ONE + ONE})])
    labels = Label(LabelledDuels(9, (0, 5, 0, 0), (0, 5, 0, 0), (0, 0, 0, 0)))
    store.change("hotels", labels, by="anna", reason="")
    source = export_policy(store)
    assert source.domains["hotels"].labels == labels.labels
    store.open(replace(META, name="new", fingerprint="f2"))
    warm_start(store, source, weight=1, by="anna", reason="")
    assert store.read(["hotels"])["hotels"] == replace(
        source.domains["hotels"], labels=None, epoch=0
    )


def test_a_new_model_stops_or_starts_a_policy_of_its_own(make_store: MakeStore) -> None:
    """By default another model stops; it may start anew or warm, beside the old one."""
    store = make_store()
    old = store.open(META)
    count(store, texts(1000), 0, 500)
    other = replace(META, fingerprint="f2222222222222222")
    with pytest.raises(FingerprintMismatch):
        open_or_start_new(store, other, on_mismatch="stop", by="w1")
    opened = open_or_start_new(store, other, on_mismatch="warm-start", weight=0.5, by="w1")
    assert (opened.meta.name, opened.created) == ("sentiment@f22222222222", True)
    expected = {name: scaled(stats, 0.5) for name, stats in sums(texts(1000)).items()}
    assert held(store) == expected
    again = open_or_start_new(store, other, on_mismatch="warm-start", by="w2")
    assert (again.id, again.created) == (opened.id, False)
    assert held(store) == expected
    third = open_or_start_new(store, replace(META, fingerprint="f3"), on_mismatch="new", by="w1")
    assert (third.meta.name, held(store)) == ("sentiment@f3", {})
    same = open_or_start_new(store, META, on_mismatch="new", by="w1")
    assert (same.id, held(store)) == (old.id, sums(texts(1000)))
    with pytest.raises(InvalidInput, match="expected one of stop, new, warm-start"):
        open_or_start_new(store, other, on_mismatch="x", by="w1")
    fewer = replace(META, fingerprint="f4", layers=(1, 12))
    with pytest.raises(FingerprintMismatch, match="has 4 exits, sentiment@f4 has 2"):
        open_or_start_new(store, fewer, on_mismatch="warm-start", by="w1")
    calibrated = replace(META, fingerprint="f5", calibrated=True)
    with pytest.raises(
        FingerprintMismatch, match="sentiment@f5 is calibrated, that of sentiment is"
    ):
        open_or_start_new(store, calibrated, on_mismatch="warm-start", by="w1")
    assert {"sentiment@f4", "sentiment@f5"}.isdisjoint(meta.name for meta in store.policies())


@pytest.mark.parametrize("died", ["before it began", "half-way"])
def test_a_warm_start_that_was_broken_off_is_finished(make_store: MakeStore, died: str) -> None:
    """A worker that died between creating a policy and warming it leaves no cold one for good."""
    store = make_store()
    store.open(META)
    count(store, texts(1000), 0, 500)
    expected = {name: scaled(stats, 0.5) for name, stats in sums(texts(1000)).items()}
    other = replace(META, fingerprint="f2222222222222222")
    store.open(replace(other, name="sentiment@f22222222222"))
    if died == "half-way":
        store.note("warm-start-begin", {}, by="w1", reason="")
        store.load({"hotels": DomainSnapshot(expected["hotels"], 0, None)}, replace=False)
        store.apply([part(0, 1, {"new": ONE})])
        expected |= {"new": ONE}
    for worker in ("w2", "w3"):
        open_or_start_new(store, other, on_mismatch="warm-start", weight=0.5, by=worker)
        assert held(store) == expected
    done = [entry for entry in store.audit() if entry.action == "warm-start"]
    assert [entry.by for entry in done] == ["w2"]


def test_a_policy_that_began_cold_on_purpose_is_left_so(make_store: MakeStore) -> None:
    """What a new model has counted by itself is not mixed with another's later."""
    store = make_store()
    store.open(META)
    count(store, texts(1000), 0, 500)
    other = replace(META, fingerprint="f2222222222222222")
    open_or_start_new(store, other, on_mismatch="new", by="w1")
    store.apply([part(0, 1, {"new": ONE})])
    open_or_start_new(store, other, on_mismatch="warm-start", by="w2")
    assert held(store) == {"new": ONE}
