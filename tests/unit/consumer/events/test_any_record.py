"""Whatever a record holds: one prediction that can be written, or one dead letter that can."""

import json
import random
from dataclasses import replace
from functools import partial

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.events.codec import Fields, parse
from consumer.events.outgoing import encoded
from consumer.events.predictions import read_prediction
from consumer.events.record import Record
from consumer.learning.labels import join, labels_of_records
from consumer.predictor import ModelFacts
from consumer.processor import Processor
from consumer.routes.route import Route
from policy_state.algorithms.uee_ucb import UeeUcb
from tests.support.processors import Result

EDGES = (0, -1, 2**31, 2**53, 2**63 - 1, 2**63, 2**64, 10**21, 10**600, 1e308, float("nan"))
TIMES = ("0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59.9-23:59", "2026-01-02", "9" * 30, "-1")
NAMES = ("text", "id", "domain", "timestamp", "label", "meta", "shop", "__dict__", "model_extra")
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from(EDGES),
    st.integers(),
    st.floats(),
    st.sampled_from(TIMES),
    st.text(max_size=20),
    st.datetimes(timezones=st.timezones()).map(lambda t: t.isoformat()),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=8,
)
EVENTS = st.fixed_dictionaries(
    {"text": st.text(min_size=1, max_size=20) | VALUES},
    optional=dict.fromkeys(NAMES[1:], VALUES),
).map(lambda event: json.dumps(event, ensure_ascii=len(event) % 2 == 0).encode(errors="replace"))
FRAGMENTS = st.sampled_from(
    [
        b"\\ud800",
        b"\\u0000",
        b"\xff",
        b"\x00",
        b'"',
        b"{",
        b"[" * 300,
        b"]",
        b"9" * 400,
        b"\xef\xbb\xbf",
    ]
)


@st.composite
def broken(draw):
    """Bytes of an event with something put into them, or cut off."""
    value = draw(EVENTS)
    at = draw(st.integers(0, len(value)))
    return value[:at] + draw(FRAGMENTS | st.just(b"")) + value[draw(st.integers(at, len(value))) :]


RECORDS = st.builds(
    Record,
    topic=st.sampled_from(["texts.films", "texts.__overflow__", "other"]),
    partition=st.just(3),
    offset=st.just(2**63 - 2),
    timestamp_ms=st.sampled_from([-1, 0, 2**63 - 1]),
    key=st.none() | st.binary(max_size=3),
    fault=st.none(),
    topic_id=st.none(),
    value=st.none() | EVENTS | broken() | st.binary(max_size=40),
    headers=st.lists(
        st.tuples(st.sampled_from("dx"), st.none() | st.binary(max_size=4)), max_size=3
    ).map(tuple),
)
SOURCES = ("topic", "field:domain", "field:meta.shop", "field:model_extra", "header:d", "fixed:a")
FIELDS = (Fields(), Fields(id="meta.id", timestamp="meta.shop"), Fields(text="meta.text"))


def infer(texts, exits):
    return [Result((0,) * (k + 1), (0.5,) * (k + 1), len(t) > 9) for t, k in zip(texts, exits)]  # noqa: B905


def make_step(form, fields, source):
    return Processor(
        infer=infer,
        model=ModelFacts("f1", (1, 2), ("no", "yes")),
        algorithm=UeeUcb(costs=(0.1, 1.0)),
        routes=(Route(topics=r"texts\.(?P<domain>.+)", domain=source),),
        parse=partial(parse, form=form, fields=fields),
        rng=random.Random(1),
    )


@settings(max_examples=1500)
@given(
    RECORDS,
    st.sampled_from(["auto", "json", "text"]),
    st.sampled_from(FIELDS),
    st.sampled_from(SOURCES),
)
def test_any_record_is_predicted_or_a_dead_letter(record, form, fields, source):
    """Nothing that a record's value or headers say stops a worker or its readers."""
    step = make_step(form, fields, source)
    outcome = step.run(step.prepare([record]), lambda _: {})
    outcome, outgoing = encoded(outcome, dead_letters="d", instance="w", kept=lambda _: True)
    (written,) = outgoing
    assert not [x for x in outcome.dead_letters if x.error_class == "unexpected-error"]
    assert all(isinstance(value, bytes) and name.encode() for name, value in written.headers)
    if outcome.predictions:
        assert written.value is not None
        body = orjson.loads(written.value)
        assert -(2**63) <= body["timestamp"] < 2**63
        assert 1 <= len(body["id"]) <= 512 + 1  # and a sign
        read = read_prediction(written.value, fingerprint="f1", exits=2)
        assert read is not None
        assert read.domain == body["domain"]
    else:
        assert written.value == record.value
        assert dict(written.headers)["offramp.error.stage"] in {b"parse", b"route"}


def test_what_cannot_be_written_is_the_dead_letter_of_its_record():
    """A prediction that no JSON can hold is set aside; the others of the batch are written."""
    step = make_step("json", Fields(), "topic")
    values = [b'{"text": "a", "id": %d}' % n for n in range(3)]
    records = [Record("texts.a", 0, n, 0, None, value) for n, value in enumerate(values)]
    outcome = step.run(step.prepare(records), lambda _: {})
    first, lone, last = outcome.predictions
    lone = lone._replace(label_name="\ud800")
    outcome = replace(outcome, predictions=(first, lone, last))
    outcome, outgoing = encoded(outcome, dead_letters="d", instance="w", kept=lambda _: True)
    assert [p.event.id for p in outcome.predictions] == ["0", "2"]
    assert [item.topic for item in outgoing] == ["offramp.predictions"] * 2 + ["d"]
    said = dict(outgoing[2].headers)
    assert (said["offramp.error.stage"], said["offramp.error.class"]) == (
        b"produce",
        b"unexpected-error",
    )


PREDICTIONS = st.fixed_dictionaries(
    {
        "model": st.just("f1") | VALUES,
        "domain": st.just("a") | VALUES,
        "id": st.just("x") | VALUES,
        "label": st.integers(0, 1) | VALUES,
        "label_name": st.just("yes") | VALUES,
        "exit_labels": st.lists(st.integers(0, 1) | VALUES, max_size=3) | VALUES,
        "source": st.fixed_dictionaries(
            {"topic": st.just("t") | VALUES, "partition": VALUES, "offset": VALUES}
        )
        | VALUES,
    }
)


@settings(max_examples=500)
@given(st.lists(PREDICTIONS | VALUES, max_size=4), st.lists(VALUES | st.text(), max_size=3))
def test_any_record_of_a_topic_of_predictions_can_be_there(bodies, labels):
    """Reading predictions and labels again skips what is none: anybody may write to a topic."""
    values = [json.dumps(body).encode() for body in bodies]
    known, _ = labels_of_records([json.dumps(label).encode() for label in labels])
    joined = join(values, known | {"x": 1}, fingerprint="f1", exits=2)
    for value in values:
        if (found := read_prediction(value, fingerprint="f1", exits=2)) is not None:
            assert 1 <= len(found.exit_labels) <= 2
            assert found.source is None or 0 <= found.source.offset < 2**63
    assert sum(len(t.truth) for t in joined.domains.values()) <= len(bodies)


@pytest.mark.parametrize("label", ["9" * 5000, "\u0661", -1])
def test_a_label_that_is_no_class_is_unknown(label):
    """However long or whatever digits: it is told as no class, and ends nothing."""
    body = {
        "model": "f1",
        "domain": "a",
        "id": "x",
        "label": 1,
        "label_name": "b",
        "exit_labels": [1],
    }
    joined = join([orjson.dumps(body)], {"x": label}, fingerprint="f1", exits=2)
    assert joined.unlabelled == 0
