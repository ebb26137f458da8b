"""Counters of two models on the same texts: what a text adds, and that all of it adds up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy_state.errors import InvalidInput
from policy_state.health.rebuild import PredictedText
from policy_state.shadowed import ShadowCounts

EXITS, LIVE_EXITS = 3, 2
LABELS = st.tuples(*[st.integers(0, 2)] * EXITS)
TEXTS = st.lists(st.tuples(LABELS, st.integers(0, 2), st.integers(0, LIVE_EXITS - 1)), min_size=1)


def counted(rows, *, micros=0):
    """Return what texts add: labels at all exits of the new model, live answer, live exit."""
    return ShadowCounts.of(
        [PredictedText("t", 0, i, "d", labels) for i, (labels, _, _) in enumerate(rows)],
        [(answer, stop) for _, answer, stop in rows],
        exits=EXITS,
        live_exits=LIVE_EXITS,
        micros=micros,
    )


def test_a_text_adds_where_it_gets_the_live_answer_and_where_the_live_model_stopped():
    """By hand: three texts, one of which ran to the last exit of the live model."""
    found = counted([((0, 1, 1), 1, 0), ((1, 1, 0), 1, 1), ((2, 2, 2), 0, 0)], micros=7)
    assert found.texts == 3
    assert found.same == (1, 2, 1)
    assert found.stopped == (2, 1)
    assert (found.full, found.full_same, found.micros) == (1, 0, 7)
    assert found.stats.observed == (3, 3, 3)
    assert found.stats.disagreed == (0, 1, 2)


@given(TEXTS, TEXTS)
def test_batches_add_up_in_any_order_and_survive_the_store(some, others):
    """Counted together or apart, and written and read: the same counters."""
    together = counted(some + others, micros=5)
    assert counted(some, micros=2) + counted(others, micros=3) == together
    assert counted(others, micros=3) + counted(some, micros=2) == together
    fields = together.to_fields()
    assert ShadowCounts.from_fields(fields, exits=EXITS, live_exits=LIVE_EXITS) == together
    zeros = ShadowCounts.zeros(exits=EXITS, live_exits=LIVE_EXITS)
    assert zeros + together == together
    assert zeros.to_fields() == {}


def test_what_is_no_count_is_refused():
    """A field that somebody wrote by hand is not shown as a share."""
    with pytest.raises(InvalidInput, match="same0"):
        ShadowCounts.from_fields({"same0": -1}, exits=EXITS, live_exits=LIVE_EXITS)
