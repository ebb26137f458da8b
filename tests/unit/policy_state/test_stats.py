"""The counters of one domain: their algebra and their stored form."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policy_state.errors import InvalidInput
from policy_state.stats import COUNT_MAX, ExitStats

EXITS = 4
texts = st.lists(st.integers(0, 3), min_size=1, max_size=EXITS)


def of_texts(many: list[list[int]]) -> ExitStats:
    """Return the counters of many texts."""
    return sum(map(plainly, many), ExitStats.zeros(EXITS))


def plainly(labels: list[int]) -> ExitStats:
    """Return what one text adds, by the definition of each kind."""
    differs = [int(label != labels[0]) for label in labels]
    before, full, unseen = [0, *differs], len(labels) == EXITS, (0,) * (EXITS - len(labels))
    return ExitStats(
        observed=(1,) * len(labels) + unseen,
        disagreed=tuple(differs) + unseen,
        played=(0,) * (len(labels) - 1) + (1,) + unseen,
        gained=tuple(int(b < now) for b, now in zip(before, differs, strict=False)) + unseen,
        lost=tuple(int(b > now) for b, now in zip(before, differs, strict=False)) + unseen,
        apart=tuple(int(label != labels[-1]) for label in labels) if full else (),
        odd=tuple(label & 1 for label in labels) + unseen,
        high=tuple(label >> 1 & 1 for label in labels) + unseen,
    )


def test_one_text_counts_every_exit_up_to_its_own() -> None:
    """A text is observed up to its exit, played there, and disagrees where it differs."""
    stats = ExitStats.from_labels([1, 0, 1], exits=EXITS)
    assert stats == ExitStats(
        observed=(1, 1, 1, 0),
        disagreed=(0, 1, 0, 0),
        played=(0, 0, 1, 0),
        gained=(0, 1, 0, 0),
        lost=(0, 0, 1, 0),
        apart=(0, 0, 0, 0),
        odd=(1, 0, 1, 0),
        high=(0, 0, 0, 0),
    )
    assert (stats.exits, stats.texts) == (4, 1)


def test_labels_are_counted_by_their_last_two_bits() -> None:
    """Of four classes each is told from the others; a fifth counts as the first."""
    stats = [ExitStats.from_labels([label], exits=1) for label in range(5)]
    assert [s.odd + s.high for s in stats] == [(0, 0), (1, 0), (0, 1), (1, 1), (0, 0)]


def test_a_text_run_to_the_end_shows_who_differs_from_the_last_exit() -> None:
    """Only a text of full depth tells which exits the last one would overrule."""
    assert ExitStats.from_labels([1, 0, 1, 0], exits=EXITS).apart == (1, 0, 1, 0)


@settings(deadline=None)  # the first batch imports numpy
@given(many=st.lists(texts))
def test_many_texts_at_once_count_as_one_by_one(many: list[list[int]]) -> None:
    """The fast way to count a batch gives the same counters as the plain one."""
    assert ExitStats.from_texts(many, exits=EXITS) == of_texts(many)
    assert all(ExitStats.from_labels(text, exits=EXITS) == plainly(text) for text in many)


@given(many=st.lists(texts), other=st.lists(texts))
def test_adding_in_any_order_or_grouping_is_the_same(
    many: list[list[int]], other: list[list[int]]
) -> None:
    """Counters of two streams add up to the counters of all their texts, in either order."""
    left, right = of_texts(many), of_texts(other)
    assert left + right == right + left == of_texts(many + other)
    assert left + ExitStats.zeros(EXITS) == left


@given(many=st.lists(texts))
def test_counters_hang_together(many: list[list[int]]) -> None:
    """Deeper exits are observed at most as often, exit 0 never disagrees, plays add up."""
    stats = of_texts(many)
    assert stats.texts == len(many) == stats.observed[0]
    assert list(stats.observed) == sorted(stats.observed, reverse=True)
    assert stats.observed == tuple(sum(stats.played[j:]) for j in range(EXITS))
    assert stats.disagreed[0] == 0
    assert all(d <= n for d, n in zip(stats.disagreed, stats.observed, strict=True))


@given(many=st.lists(texts))
def test_fields_read_back(many: list[list[int]]) -> None:
    """What is written as fields reads back the same."""
    stats = of_texts(many)
    assert ExitStats.from_fields(stats.to_fields(), exits=EXITS) == stats


@given(many=st.lists(texts))
def test_trusted_counters_are_the_same(many: list[list[int]]) -> None:
    """Counters that are not checked again are equal to those that are."""
    stats = of_texts(many)
    assert ExitStats.from_flat([n for counts in stats.by_exit() for n in counts]) == stats


def test_fields_leave_zeros_out_and_others_alone() -> None:
    """A count of zero takes no field, and fields that are no counters are not looked at."""
    assert ExitStats.zeros(EXITS).to_fields() == {}
    assert ExitStats.from_fields({"epoch": "7", "pin": "x"}, exits=EXITS) == ExitStats.zeros(EXITS)


@pytest.mark.parametrize("value", ["", "1", 1.5, None, True, COUNT_MAX + 1, -1])
def test_a_field_that_is_no_count_is_named(value: object) -> None:
    """A value that is no count in range raises, with the field's name."""
    with pytest.raises(InvalidInput, match="field d1"):
        ExitStats.from_fields({"d1": value}, exits=EXITS)


def test_impossible_counters_are_refused() -> None:
    """Negative counts, tuples of different lengths and too many labels never become counters."""
    with pytest.raises(InvalidInput, match="negative"):
        ExitStats((1, 1), (0, -1), (1, 0))
    with pytest.raises(InvalidInput, match="disagreed has 1 entries, observed has 2"):
        ExitStats((1, 1), (0,), (1, 0))
    with pytest.raises(InvalidInput, match="5 exit labels for one text, this policy has 4 exits"):
        ExitStats.from_labels([0] * 5, exits=EXITS)
    with pytest.raises(InvalidInput, match="0 exit labels"):
        ExitStats.from_labels([], exits=EXITS)
    with pytest.raises(InvalidInput, match="4 exits plus counters of 3"):
        ExitStats.zeros(4) + ExitStats.zeros(3)
