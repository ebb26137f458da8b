"""Predictions as workers make them."""

import json
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

from hypothesis import strategies as st

from consumer.events.predictions import read_prediction
from consumer.events.record import Event, Prediction, Record
from policy_state.predicted import counts_of
from policy_state.stats import ExitStats


def prediction(**changes: Any) -> Prediction:
    """Return a prediction of `texts.films[3]@1289` by a model without calibration."""
    event = Event(Record("texts.films", 3, 1289, 1000, b"k", b"x"), "id-1", "x", "films", 77, "out")
    facts: dict[str, Any] = {
        "event": event,
        "label": 1,
        "label_name": "positive",
        "score": 0.75,
        "exit": 1,
        "layer": 3,
        "exit_labels": (0, 1),
        "truncated": False,
        "model": "abc",
    }
    return Prediction(**(facts | changes))


@st.composite
def predictions(draw: st.DrawFn, exits: int = 4) -> Prediction:
    """Return a prediction as a worker makes them, of a model with this many exits."""
    gate = draw(st.sampled_from([None, 600, 995]))
    held = gate is None and draw(st.booleans())
    ran = exits if held else draw(st.integers(1, exits))
    labels = tuple(draw(st.lists(st.integers(0, 1), min_size=ran, max_size=ran)))
    thousandths = st.lists(st.integers(0, 1000), min_size=ran, max_size=ran)
    changes: dict[str, Any] = {"exit_labels": labels, "exit": ran - 1, "label": labels[-1]}
    if draw(st.booleans()):
        changed = [0, *(a != b for a, b in pairwise(labels))]
        earned = zip(draw(thousandths), changed, strict=True)
        changes["exit_credits"] = tuple(credit * change for credit, change in earned)
        changes["exit_scores"] = tuple(draw(thousandths))
    if held:
        changes["chosen_exit"] = draw(st.integers(0, exits - 1))
    if gate is not None:
        changes["gate"] = gate
        changes["chosen_exit"] = draw(st.sampled_from([None, *range(ran, exits)]))
    return prediction(**changes)


def counters_of(values: Iterable[bytes], exits: int) -> dict[str, ExitStats]:
    """Return the counters that predictions of one model imply, by domain."""
    found: dict[str, ExitStats] = {}
    for value in values:
        text = read_prediction(value, fingerprint=json.loads(value)["model"], exits=exits)
        assert text is not None
        one = counts_of([text], exits=exits)
        found[text.domain] = found[text.domain] + one if text.domain in found else one
    return found
