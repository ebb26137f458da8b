"""One contract for every store: counters are counted again from predictions."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from policy_state.health.doctor import examine
from policy_state.health.rebuild import PredictedText, Rebuilt, rebuild
from policy_state.store.admin import Freeze, Pin, PolicyAdmin, Reset
from policy_state.store.offsets import Counted
from policy_state.store.values import Applied, DomainSnapshot
from tests.support.policies.counted import DEEP, part
from tests.support.policies.predicted import count, held, sums, texts

UPTO = {("t1", 0): 500, ("t1", 1): 500}


def test_a_lost_store_is_rebuilt_exactly(store: PolicyAdmin) -> None:
    """From nothing, the counters are those that the predictions imply, and later texts add up."""
    some = texts(1000)
    done = rebuild(store, iter(some), upto=UPTO)
    assert done == Rebuilt(counted=len(some), known=0, repeated=0, beyond=0, failed_offsets=0)
    assert held(store) == sums(some)
    assert store.watermarks() == {"t1/0": Counted(500), "t1/1": Counted(500)}
    assert rebuild(store, iter(some), upto=UPTO).counted == 0
    assert examine(store).findings == ()


def test_a_rebuild_fills_in_what_workers_have_not_counted_since(store: PolicyAdmin) -> None:
    """Workers that went on after the loss keep what they counted; the past comes to it, once."""
    some = texts(1000)
    count(store, some, 300, 500)

    def while_a_worker_counts() -> Iterator[PredictedText]:
        for number, text in enumerate(some):
            if number == 400:
                store.apply([part(500, 510, {"hotels": DEEP})])
            yield text

    done = rebuild(store, while_a_worker_counts(), upto=UPTO)
    assert done.counted == len([t for t in some if t.offset < 300])
    assert done.known == len([t for t in some if t.offset >= 300])
    expected = sums(some)
    assert held(store) == expected | {"hotels": expected["hotels"] + DEEP}
    assert examine(store).findings == ()


def test_everything_is_counted_anew_after_a_restart(store: PolicyAdmin) -> None:
    """Damaged counters are set to zero and counted again, pins kept, workers continuing."""
    some = texts(1000)
    count(store, some, 0, 500)
    store.load({"hotels": DomainSnapshot(DEEP, 0, 5)}, replace=True)
    store.change("books", Pin(2), by="anna", reason="")
    store.change("旅館", Freeze(), by="anna", reason="")
    store.restart(by="anna", reason="damaged")
    store.apply([part(500, 510, {"books": DEEP})])
    rebuild(store, iter(some), upto=UPTO)
    expected = sums(some)
    assert held(store) == expected | {"books": expected["books"] + DEEP}
    assert store.read(["books"])["books"].pin == 2
    assert examine(store).findings == ()


def test_a_reset_of_the_past_is_not_repeated(store: PolicyAdmin) -> None:
    """A rebuild counts what a domain had before it was reset, too: predictions tell of no reset."""
    some = texts(1000)
    count(store, some, 0, 500)
    store.change("books", Reset(), by="anna", reason="")
    store.restart(by="anna", reason="damaged")
    rebuild(store, iter(some), upto=UPTO)
    assert held(store) == sums(some)


class ResetBetween:
    """A store whose domain `d0` drifts once the first texts of a rebuild are counted."""

    def __init__(self, store: PolicyAdmin) -> None:
        self._store = store
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def apply(self, *args: Any, **options: Any) -> Applied:
        """Count, and reset between the first call and the second."""
        self.calls += 1
        if self.calls == 2:
            change = Reset(keep=0, epoch=self._store.read(["d0"])["d0"].epoch)
            self._store.change("d0", change, by="w-1", reason="drift", automatic=True)
        return self._store.apply(*args, **options)


def test_a_reset_in_the_midst_of_a_rebuild_is_as_one_after_it(store: PolicyAdmin) -> None:
    """Nothing of before the reset is counted after it, all is accounted for, and new texts are."""
    some = [
        PredictedText("t1", 0, first + number, f"d{number}", (0, 1))
        for first in (0, 65_536)
        for number in range(300)
    ]
    between = ResetBetween(store)
    done = rebuild(between, iter(some), upto={("t1", 0): 70_000})
    assert between.calls == 2
    assert done.counted == 599
    found = store.read(["d0", "d1"])
    assert (found["d0"].stats.texts, found["d1"].stats) == (0, sums(some)["d1"])
    totals = store.totals()
    assert (totals.stats.texts, totals.gone, totals.skipped) == (599, 1, 1)
    store.apply([part(70_000, 70_001, {"d0": DEEP})])
    assert store.read(["d0"])["d0"].stats == DEEP
    assert examine(store).findings == ()


def test_texts_beyond_the_cut_and_repeated_ones_are_left_out(store: PolicyAdmin) -> None:
    """What is not committed yet is the workers'; of two predictions of a text one counts."""
    some = texts(100)
    done = rebuild(
        store, [*some, *some[:10], replace(some[0], topic_id="other")], upto={("t1", 0): 20}
    )
    inside = [t for t in some if t.partition == 0 and t.offset < 20]
    assert done.counted == len(inside)
    assert done.repeated == len([t for t in some[:10] if t.partition == 0])
    assert done.beyond == len(some) + 11 - done.counted - done.repeated
    assert held(store) == sums(inside)


def test_a_rebuild_of_part_of_the_past_leaves_the_rest_to_be_filled(store: PolicyAdmin) -> None:
    """Where the cut lies inside a gap only what is below it is counted, and the rest can come."""
    count(store, texts(1000), 400, 500)
    rebuild(store, texts(1000), upto={("t1", 0): 70_000 - 69_900})
    assert store.watermarks()["t1/0"] == Counted(500, ((100, 400),))
    rebuild(store, texts(1000), upto=UPTO)
    assert held(store) == sums(texts(1000))
