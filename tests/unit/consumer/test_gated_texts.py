"""Texts that meet a gate: which ones do, where they stop, and what is counted of them."""

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.decision import Decision
from consumer.events.predictions import encode_prediction
from consumer.events.record import Record
from consumer.predictor import ModelFacts
from consumer.processor import Processor
from consumer.routes.route import Route
from policy_state.algorithms.base import build
from policy_state.algorithms.gate import first_sure
from policy_state.algorithms.settings import PolicySettings
from policy_state.contradictions import contradictions
from policy_state.predicted import counts_of
from policy_state.stats import ExitStats
from policy_state.store.values import DomainSnapshot
from tests.support.policies.written import counters_of
from tests.support.processors import Result

LAYERS = (1, 3, 12)
SETTINGS = PolicySettings(gate=0.99, holdout=0.0)
ROUTES = (
    Route(topics="plain", domain="fixed:films"),
    Route(topics="off", domain="fixed:films", gate=0),
    Route(topics="strict", domain="fixed:films", gate=0.9999),
)
# Half of the texts change at exit 1, none at exit 2: it is settled on exit 1.
SEEN = [((0, 1, 1), (650, 990, 995)), ((1, 1, 1), (940, 990, 995))] * 200
STATS = ExitStats.from_texts(
    [labels[:2] for labels, _ in SEEN] + [labels for labels, _ in SEEN],
    exits=3,
    scores=[scores[:2] for _, scores in SEEN] + [scores for _, scores in SEEN],
    credits=[(0, 500 * (labels[0] == 0)) for labels, _ in SEEN]
    + [(0, 500 * (labels[0] == 0), 0) for labels, _ in SEEN],
)
FILMS = DomainSnapshot(STATS, epoch=0, last_seen_ms=1)


def infer(texts, exits, gates=None):
    """Return results of a calibrated model whose first score is the text's, in thousandths."""
    found = []
    for text, exit_, gate in zip(texts, exits, gates or [0] * len(texts), strict=True):
        scores = (int(text.split()[1]), 990, 995)
        ran = first_sure(scores, exit_, gate) + 1
        labels = (int(scores[0] > 700), 1, 1)[:ran]
        credits = (0, 500 * (labels[0] == 0), 0)[:ran]
        found.append(Result(labels, tuple(s / 1000 for s in scores[:ran]), False, credits))
    return found


@pytest.fixture
def processor():
    model = ModelFacts("f1", LAYERS, ("negative", "positive"), calibrated=True)
    algorithm = build(SETTINGS, LAYERS, credits=True)
    made = Processor(infer=infer, model=model, algorithm=algorithm, rng=random.Random(1))
    return made.with_policy(SETTINGS, ROUTES)


def events_of(processor, values, topic="plain"):
    records = [Record(topic, 0, i, 10 + i, None, b"score %d" % v) for i, v in enumerate(values)]
    events, letters = processor.read(records)
    assert not letters
    return events


def gates_of(processor, snapshot=FILMS, topic="plain", count=2000):
    events = events_of(processor, [800] * count, topic)
    return processor.decide(events, {"films": snapshot})


def test_settled_texts_meet_the_gate_but_for_a_twentieth(processor):
    """Scouts and probes elsewhere do not, nor does the share that audits; within five errors."""
    decisions = gates_of(processor)
    assert {d.gate for d in decisions if d.exit != 1} <= {0}
    settled = [d.gate for d in decisions if d.exit == 1]
    assert set(settled) == {0, 700}
    assert 50 < settled.count(0) < 150


@pytest.mark.parametrize(
    ("snapshot", "exits", "gates"),
    [
        (replace(FILMS, frozen=True), {1}, {0}),  # nothing is counted there
        (replace(FILMS, pin=1), {1}, {0, 700}),
        (replace(FILMS, pin=2), {2}, {0, 700}),
        (replace(FILMS, pin=0), {0}, {0}),  # nothing is shallower
    ],
)
def test_pinned_domains_have_a_gate_and_frozen_ones_have_none(processor, snapshot, exits, gates):
    """The gate of a pinned domain lies before the exit that it is pinned to."""
    decisions = gates_of(processor, snapshot)
    assert ({d.exit for d in decisions}, {d.gate for d in decisions}) == (exits, gates)


def test_a_route_has_its_own_promise(processor):
    """One route has no gate, and that of another promises more than 400 texts can show."""
    pinned = replace(FILMS, pin=1)
    assert {d.gate for d in gates_of(processor, pinned, "off")} == {0}
    assert {d.gate for d in gates_of(processor, pinned, "strict")} == {0}


def test_without_a_calibration_there_is_no_gate(processor):
    """Counters without scores do not show which thresholds mislead."""
    plain = replace(processor, model=replace(processor.model, calibrated=False))
    assert {d.gate for d in gates_of(plain)} == {0}


def test_a_prediction_says_which_gate_it_met_and_where_it_was_bound(processor):
    """One let go, one not sure, one audited, one of the holdout that would have been let go."""
    decisions = [Decision(1, gate=700), Decision(1, gate=700), Decision(1), Decision(2, 1, 700)]
    events = events_of(processor, [800, 600, 800, 800])
    found = processor.predict(events, decisions).predictions
    assert [(p.exit, p.layer, p.chosen_exit, p.gate) for p in found] == [
        (0, 1, 1, 700),
        (1, 3, None, 700),
        (1, 3, None, None),
        (2, 12, 0, None),
    ]
    counts = counts_of(found, exits=3)
    assert (counts.gated, counts.played, counts.held) == ((1, 1, 0), (0, 1, 1), (1, 0, 0))


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.integers(500, 1000), min_size=1, max_size=80),
    st.integers(0, 2**32),
    st.sampled_from([0.0, 0.3]),
)
def test_what_is_written_counts_as_what_was_predicted(values, seed, holdout):
    """Whatever met the gate, was audited or held out: a rebuild of its events counts the same."""
    model = ModelFacts("f1", LAYERS, ("negative", "positive"), calibrated=True)
    made = Processor(infer, model, build(SETTINGS, LAYERS, credits=True), rng=random.Random(seed))
    processor = made.with_policy(replace(SETTINGS, holdout=holdout), ROUTES)
    events = events_of(processor, values)
    decisions = processor.decide(events, {"films": FILMS})
    found = processor.predict(events, decisions).predictions
    counts = counts_of(found, exits=3)
    assert counters_of(map(encode_prediction, found), 3) == {"films": counts}
    assert counts.all_texts == len(values)
    assert contradictions(counts) == []
