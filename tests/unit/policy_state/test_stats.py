"""The counters of one domain: their algebra and their stored form."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policy_state.algorithms.gate import first_sure
from policy_state.contradictions import contradictions
from policy_state.counting import GATE_GRID
from policy_state.errors import InvalidInput
from policy_state.predicted import counts_of
from policy_state.stats import COUNT_MAX, ExitStats
from policy_state.store.changes import scaled

EXITS = 4
texts = st.lists(st.integers(0, 3), min_size=1, max_size=EXITS)


class Text(NamedTuple):
    """What the exits of a calibrated model said of a text."""

    exit_labels: tuple[int, ...]
    exit_credits: tuple[int, ...]
    exit_scores: tuple[int, ...]
    chosen_exit: int | None  # where the policy would have stopped it, if that differs
    gate: int | None


@st.composite
def calibrated(draw: st.DrawFn) -> Text:
    """Return a text that stopped anywhere, met a gate, or ran to the end to measure."""
    labels = draw(texts)
    last, thousandths = len(labels) - 1, st.integers(0, 1000)
    gate = draw(st.sampled_from([None, 600, 990]))
    others = [j for j in range(EXITS) if (j <= last == EXITS - 1 if gate is None else j > last)]
    return Text(
        tuple(labels),
        tuple(draw(st.lists(thousandths, min_size=last + 1, max_size=last + 1))),
        tuple(draw(st.lists(thousandths, min_size=last + 1, max_size=last + 1))),
        draw(st.sampled_from([None, *others])),
        gate,
    )


def counters_of(many: list[Text]) -> ExitStats:
    """Return what many texts add, counted at once."""
    return counts_of(many, exits=EXITS)


def of_text(text: Text) -> ExitStats:
    """Return what one such text adds, by the definition of each kind."""
    labels, chosen, last = text.exit_labels, text.chosen_exit, len(text.exit_labels) - 1
    if text.gate is not None:
        return replace(ExitStats.zeros(EXITS), gated=tuple(int(j == last) for j in range(EXITS)))
    unseen = (0,) * (EXITS - len(labels))
    squares = [math.floor(credit**2 / 1000 + 0.5) for credit in text.exit_credits]
    parted = chosen is not None and labels[chosen] != labels[-1]
    return replace(
        plainly(labels),
        credit=(*text.exit_credits, *unseen),
        squares=(*squares, *unseen),
        confidence=(*text.exit_scores, *unseen),
        held=tuple(int(j == chosen) for j in range(EXITS)),
        parted=tuple(int(j == chosen and parted) for j in range(EXITS)),
        **{
            f"misled_{gate}": tuple(int(j == last and misled(text, gate)) for j in range(EXITS))
            for gate in GATE_GRID
        },
    )


def misled(text: Text, gate: int) -> bool:
    """Return whether a gate would have let the text go with another label."""
    stop = first_sure(text.exit_scores, len(text.exit_labels) - 1, gate)
    return text.exit_labels[stop] != text.exit_labels[-1]


def of_texts(many: list[list[int]]) -> ExitStats:
    """Return the counters of many texts."""
    return sum(map(plainly, many), ExitStats.zeros(EXITS))


def plainly(labels: Sequence[int]) -> ExitStats:
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
        duels=tuple(int(a != b) for a, b in zip(labels, [labels[0], *labels], strict=False))
        + unseen,
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
        duels=(0, 1, 1, 0),
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


@settings(deadline=None)
@given(many=st.lists(calibrated()))
def test_texts_of_a_calibrated_model_count_as_one_by_one(many: list[Text]) -> None:
    """Credits, scores, texts held out and texts at the gate: all at once as each by itself."""
    one_by_one = list(map(of_text, many))
    stats = counters_of(many)
    assert stats == sum(one_by_one, ExitStats.zeros(EXITS))
    assert [counters_of([text]) for text in many] == one_by_one
    assert contradictions(stats) == []
    assert ExitStats.from_fields(stats.to_fields(), exits=EXITS) == stats


@settings(deadline=None)
@given(many=st.lists(calibrated()), other=st.lists(calibrated()), share=st.floats(0, 1))
def test_counters_of_a_calibrated_model_add_up_in_any_order(
    many: list[Text], other: list[Text], share: float
) -> None:
    """Two streams add up to all their texts, in either order; a share of them is sound, too."""
    left, right = counters_of(many), counters_of(other)
    both = left + right
    assert both == right + left == counters_of(other + many)
    kept = scaled(both, share)
    assert contradictions(kept) == []
    assert kept.gated == tuple(math.floor(count * share) for count in both.gated)
    assert both.all_texts == len(many) + len(other)


def test_sums_of_thousandths_have_their_own_limits() -> None:
    """A text adds at most 1000 to credit, squares and confidence, and 1 to other kinds."""
    sound = {"observed": (2,), "disagreed": (0,), "played": (2,)}
    assert contradictions(ExitStats(**sound, credit=(2000,), confidence=(2000,), gated=(9,))) == []
    for kind, count in (("credit", 2001), ("squares", 2001), ("confidence", 2001), ("held", 3)):
        found = contradictions(ExitStats(**sound, **{kind: (count,)}))
        assert found == [f"exit 0 {kind} {count} times in 2"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"credits": [(0, 1001), (0,)]}, "a credit is outside 0..1000"),
        ({"scores": [(0, -1), (900,)]}, "a score is outside 0..1000"),
        ({"credits": [(0,), (0,)]}, "credits of 2 texts do not fit"),
        ({"scores": [(900, 900)]}, "scores of 1 text do not fit"),
        ({"chosen": [2]}, "chosen exits of 1 text, labels of 2"),
    ],
)
def test_credits_that_cannot_be_are_refused(given: dict[str, Any], message: str) -> None:
    """Numbers for other exits than ran, or outside their range, never become counters."""
    with pytest.raises(InvalidInput, match=message):
        ExitStats.from_texts([(0, 1), (1,)], exits=EXITS, **given)


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
