"""The threshold of a gate, by what texts that did not meet it show."""

from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from policy_state.algorithms.gate import first_sure, misled, threshold
from policy_state.counting import GATE_GRID
from policy_state.stats import ExitStats
from policy_state.store.changes import scaled

SURE, WRONG = ((0, 0, 0), (960, 970, 990)), ((1, 1, 0), (820, 830, 900))


def counters(sure: int, wrong: int) -> ExitStats:
    """Return counters of texts that stopped at exit 2 of 3; those of `wrong` changed there."""
    labels, scores = zip(*[SURE] * sure, *[WRONG] * wrong, strict=True)
    return ExitStats.from_texts(labels, exits=3, scores=scores)


def test_the_lowest_threshold_that_keeps_the_promise_is_in_force() -> None:
    """All texts of which a score below 860 is wrong are kept from it, at whatever promise."""
    stats = counters(380, 20)
    assert misled(stats, 2) == (*[20] * 6, *[0] * 7)
    assert threshold(stats, 2, 0.99) == 860
    assert threshold(stats, 2, 0.9) == 600


@pytest.mark.parametrize(
    ("stats", "exit_", "promise"),
    [
        (counters(199, 0), 2, 0.99),  # too few texts
        (counters(1000, 0), 2, 0.0),  # no gate
        (counters(1000, 0), 1, 0.99),  # of another exit nothing is known
        (ExitStats.from_texts([(0,)] * 500, exits=3), 0, 0.99),  # nothing is shallower
        (counters(400, 0), 2, 0.999),  # one text more that is wrong may be by chance
    ],
)
def test_a_gate_that_may_not_keep_its_promise_is_closed(
    stats: ExitStats, exit_: int, promise: float
) -> None:
    """Closed is the answer wherever texts do not show enough."""
    assert threshold(stats, exit_, promise) == 0


def test_a_gate_closes_by_itself_and_texts_at_the_gate_do_not_matter() -> None:
    """As audited texts break the promise it goes up, then closes."""
    open_at = counters(1000, 0)
    assert threshold(open_at, 2, 0.99) == 600
    assert threshold(open_at + counters(1, 20), 2, 0.99) == 860
    met = replace(ExitStats.zeros(3), gated=(10_000, 0, 10_000))
    assert threshold(open_at + met, 2, 0.99) == 600
    surely = ExitStats.from_texts([(1, 1, 0)] * 20, exits=3, scores=[(999, 999, 999)] * 20)
    assert threshold(open_at + met + surely, 2, 0.99) == 0


@given(
    sure=st.integers(1, 3000),
    wrong=st.integers(0, 60),
    share=st.floats(0, 1),
    promise=st.sampled_from([0.9, 0.98, 0.99, 0.999]),
)
@example(sure=393, wrong=8, share=0.5, promise=0.98)
def test_a_share_of_the_counters_opens_no_gate_further(
    sure: int, wrong: int, share: float, promise: float
) -> None:
    """Such as a warm start gives: it may close a gate, for there are fewer texts to go by."""
    stats = counters(sure, wrong)
    kept = scaled(stats, share)
    assert all(few <= kept.played[2] for few in misled(kept, 2))
    found, all_found = (threshold(each, 2, promise) or 1000 for each in (kept, stats))
    assert found >= all_found


@given(
    scores=st.lists(st.integers(0, 1000), min_size=1, max_size=5), gate=st.sampled_from(GATE_GRID)
)
def test_a_text_stops_where_it_is_first_sure(scores: list[int], gate: int) -> None:
    """At its exit at the latest, and before it only where no exit before was sure enough."""
    last = len(scores) - 1
    stop = first_sure(scores, last, gate)
    assert stop == last or scores[stop] >= gate
    assert all(score < gate for score in scores[:stop])
    assert first_sure(scores, last, 0) == last
