"""The buffer between a worker and its store: nothing lost, nothing twice, never without bound."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policy_state.domains import OVERFLOW_DOMAIN
from policy_state.stats import ExitStats
from policy_state.store.offsets import Status
from policy_state.store.pending import Pending, PendingLimits
from policy_state.store.values import PartitionDeltas, PolicyMeta
from tests.support.memory.store import MemoryStore

ONE = ExitStats.from_labels([0, 1], exits=2)
META = PolicyMeta("p", "f", (1, 2))


def part(
    first: int, following: int, *domains: str, partition: int = 0, epoch: int | None = None
) -> PartitionDeltas:
    """Return a part with one text of each domain."""
    epochs = {} if epoch is None else dict.fromkeys(domains, epoch)
    return PartitionDeltas(
        "t", partition, first, following, dict.fromkeys(domains or ("a",), ONE), epochs
    )


def ranges(parts: tuple[PartitionDeltas, ...]) -> list[tuple[int, int, int]]:
    """Return partition and offsets of the parts."""
    return [(p.partition, p.first_offset, p.next_offset) for p in parts]


def add(pending: Pending, given: PartitionDeltas) -> None:
    """Hold a part whose predictions are committed."""
    pending.add(given)
    pending.committed(given.source, (given.first_offset, given.next_offset))


def store() -> MemoryStore:
    """Return an open store."""
    opened = MemoryStore()
    opened.open(META)
    return opened


def test_parts_that_follow_each_other_become_one() -> None:
    """An outage of any length takes one part per partition, whose offsets widen."""
    pending = Pending()
    for offset in range(0, 1000, 10):
        add(pending, part(offset, offset + 10, "a", "b"))
        add(pending, part(offset, offset + 10, partition=1))
    assert ranges(pending.parts()) == [(0, 0, 1000), (1, 0, 1000)]
    assert pending.entries == 3
    assert pending.texts == 300


def test_a_batch_that_is_not_committed_stays_apart() -> None:
    """Where its commit fails and another worker counts it, what was held before still counts."""
    pending, shared = Pending(), store()
    add(pending, part(0, 100))
    pending.add(part(100, 150))  # cut from Kafka before the end of its commit
    shared.apply([part(100, 130)])  # by who reads on
    answers = pending.settled(shared.apply(pending.parts()).outcomes)
    assert [(back.first_offset, outcome.missing) for back, outcome in answers] == [
        (100, ((130, 150),))
    ]
    assert shared.totals().stats.texts == 2
    assert shared.watermarks()["t/0"].gaps == ()


def test_what_was_never_committed_takes_bounded_room() -> None:
    """Of commits that fail one after the other the oldest parts are given up, and told."""
    pending = Pending(PendingLimits(parts=3))
    for first in range(0, 50, 10):
        pending.add(part(first, first + 1))
    assert (len(pending), pending.lost_texts) == (3, 2)


def test_a_part_that_was_handed_out_stays_as_it_is() -> None:
    """What may have arrived is sent again unchanged; what comes later waits behind it."""
    pending = Pending()
    pending.add(part(0, 5))
    first = pending.parts()
    pending.add(part(5, 9))
    assert pending.parts() == first
    assert ranges(first) == [(0, 0, 5)]
    pending.settled(store().apply(first).outcomes)
    assert ranges(pending.parts()) == [(0, 5, 9)]
    assert len(pending) == 1


def test_what_is_held_is_not_held_twice() -> None:
    """A batch that was read again, after an aborted transaction, is recognised while held."""
    pending = Pending()
    pending.add(part(0, 5))
    pending.parts()
    pending.add(part(5, 9))
    assert pending.add(part(2, 9)).status is Status.DUPLICATE
    overlap = pending.add(part(7, 12))
    assert (overlap.status, overlap.missing) == (Status.OVERLAP, ((9, 12),))
    assert pending.texts == 2


def test_parts_of_two_holders_of_a_partition_stay_apart() -> None:
    """Offsets that another worker had in between are not claimed by joining around them."""
    mine, theirs, shared = Pending(), Pending(), store()
    mine.add(part(0, 10))
    theirs.add(part(10, 20))
    mine.add(part(20, 30))
    for pending in (mine, theirs):
        assert not pending.settled(shared.apply(pending.parts()).outcomes)
    assert shared.totals().stats.texts == 3


def test_an_overlap_is_handed_back_to_be_cut() -> None:
    """What others counted in part comes back with the missing pieces, which can be added anew."""
    pending, shared = Pending(), store()
    shared.apply([part(0, 5)])
    pending.add(part(3, 9))
    ((back, outcome),) = pending.settled(shared.apply(pending.parts()).outcomes)
    assert (back, outcome.missing) == (part(3, 9), ((5, 9),))
    assert pending.add(part(5, 9)).status is Status.APPLIED
    assert not pending.settled(shared.apply(pending.parts()).outcomes)
    assert len(pending) == 0
    pending.give_up(back)
    assert pending.lost_texts == 1


def test_texts_of_before_a_reset_are_not_added_to_later_ones() -> None:
    """Where the epoch rose between two parts only the later texts are kept, and that is counted."""
    pending = Pending()
    add(pending, part(0, 5, "a", epoch=1))
    add(pending, part(5, 9, "a", epoch=2))
    (joined,) = pending.parts()
    assert (joined.deltas["a"], joined.epochs["a"]) == (ONE, 2)
    assert pending.lost_texts == 1


def test_domains_beyond_the_limit_are_summed_as_one() -> None:
    """With no room for further domains their texts still count, under the shared name."""
    pending = Pending(PendingLimits(entries=3))
    add(pending, part(0, 5, "a", "b", "c"))
    add(pending, part(5, 9, "a", "x", "y", "z"))
    (joined,) = pending.parts()
    assert joined.deltas == {
        "a": ONE + ONE,
        "b": ONE,
        "c": ONE,
        OVERFLOW_DOMAIN: ONE + ONE + ONE,
    }
    assert pending.texts == 7


def test_parts_beyond_the_limit_are_joined_over_small_gaps_first() -> None:
    """The number of parts stays bounded, and the widest gaps last as long as possible."""
    pending = Pending(PendingLimits(parts=3))
    for first in (0, 100, 102, 104, 300, 301, 303):
        add(pending, part(first, first + 1))
    assert len(pending) == 3
    assert ranges(pending.parts()) == [(0, 0, 1), (0, 100, 105), (0, 300, 304)]


def test_one_call_brings_a_bounded_number_of_domains() -> None:
    """After an outage the store is not sent everything in one call."""
    pending, shared = Pending(PendingLimits(call_domains=4)), store()
    for offset in range(10):
        add(pending, part(offset, offset + 1, f"d{offset}"))
    calls = 0
    while sent := pending.parts():
        assert sum(len(p.deltas) for p in sent) <= 4
        pending.settled(shared.apply(sent).outcomes)
        calls += 1
    assert calls == 3
    assert shared.totals().stats.texts == 10


@settings(max_examples=60)
@given(data=st.data())
def test_with_any_outages_every_text_counts_once(data: st.DataObject) -> None:
    """Calls that fail before or after the store took them, and batches read again, change nothing.

    Two workers hand one partition to and fro, as in a rebalance.
    """
    shared, workers = store(), [Pending(), Pending()]
    offset = 0
    for _ in range(data.draw(st.integers(1, 15))):
        pending = workers[data.draw(st.integers(0, 1))]
        following = offset + data.draw(st.integers(1, 4))
        for _again in range(data.draw(st.integers(1, 2))):
            delta = {"a": ExitStats((following - offset, 0), (0, 0), (following - offset, 0))}
            pending.add(PartitionDeltas("t", 0, offset, following, delta))
        offset = following
        what = data.draw(st.sampled_from(["away", "lost answer", "fine"]))
        if what != "away":
            answer = shared.apply(pending.parts())
            if what == "fine":
                assert not pending.settled(answer.outcomes)
    for pending in workers:
        while sent := pending.parts():
            assert not pending.settled(shared.apply(sent).outcomes)
    assert shared.totals().stats.texts == offset


@pytest.mark.parametrize("count", [0, 2])
def test_answers_must_be_those_of_the_parts(count: int) -> None:
    """Another number of answers than parts is a mistake of the caller, told at once."""
    pending = Pending()
    pending.add(part(0, 5))
    (outcome,) = store().apply(pending.parts()).outcomes
    with pytest.raises(ValueError, match="argument"):
        pending.settled([outcome] * count)
