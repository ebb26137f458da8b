"""Predictions on the wire: what goes out, and what is read of it again."""

import json

import pytest
from hypothesis import given

from consumer.events.predictions import encode_prediction, read_prediction
from tests.support.policies.written import prediction, predictions


def test_prediction_has_the_documented_fields():
    """The output is exactly what docs/events.md says."""
    assert json.loads(encode_prediction(prediction())) == {
        "version": 1,
        "id": "id-1",
        "domain": "films",
        "label": 1,
        "label_name": "positive",
        "score": 0.75,
        "exit": 1,
        "layer": 3,
        "exit_labels": [0, 1],
        "model": "abc",
        "source": {"topic": "texts.films", "partition": 3, "offset": 1289},
        "timestamp": 77,
    }
    assert json.loads(encode_prediction(prediction(truncated=True)))["truncated"] is True
    plain = prediction()
    event = plain.event._replace(record=plain.event.record._replace(topic_id="i1"))
    source = json.loads(encode_prediction(plain._replace(event=event)))["source"]
    assert source == {
        "topic": "texts.films",
        "partition": 3,
        "offset": 1289,
        "topic_id": "i1",
    }


def test_a_prediction_of_a_calibrated_model_says_how_sure_its_exits_were():
    """The two lists are there together; without a calibration there is neither."""
    body = json.loads(encode_prediction(prediction(exit_scores=(600, 750), exit_credits=(0, 31))))
    assert (body["exit_scores"], body["exit_credits"]) == ([600, 750], [0, 31])
    assert "chosen_exit" not in body
    plain = json.loads(encode_prediction(prediction(chosen_exit=0)))
    assert plain["chosen_exit"] == 0
    assert not plain.keys() & {"exit_scores", "exit_credits"}


@given(predictions())
def test_what_is_written_is_read_again(written):
    """All that enters the counters comes back as it was, whatever the text went through."""
    read = read_prediction(encode_prediction(written), fingerprint="abc", exits=4)
    assert read is not None
    assert read.domain == "films"
    for name in ("exit_labels", "exit_scores", "exit_credits", "chosen_exit"):
        assert getattr(read, name) == getattr(written, name)


GOOD = {"exit_scores": [700, 800, 900], "exit_credits": [0, 0, 40]}


@pytest.mark.parametrize(
    ("fields", "readable"),
    [
        ({}, True),
        (GOOD, True),
        (GOOD | {"chosen_exit": 0}, True),
        (GOOD | {"chosen_exit": 2}, True),  # it would have gone to the last exit anyway
        (GOOD | {"gate": 900}, True),
        (GOOD | {"chosen_exit": 3}, False),  # there is no such exit
        (GOOD | {"chosen_exit": -1}, False),
        (GOOD | {"chosen_exit": 1, "gate": 900}, False),  # the holdout passes no gate
        (GOOD | {"gate": 1001}, False),
        (GOOD | {"exit_scores": [700, 800]}, False),
        (GOOD | {"exit_scores": [700, 800, 1001]}, False),
        (GOOD | {"exit_credits": [0, 0]}, False),
        (GOOD | {"exit_credits": [0, 0, -1]}, False),
        (GOOD | {"exit_credits": [0, 0, 1001]}, False),
        (GOOD | {"exit_credits": [0, 40, 0]}, False),  # the label stayed the same there
        (GOOD | {"exit_credits": [40, 0, 0]}, False),
        ({"exit_scores": [700, 800, 900]}, False),
        ({"exit_credits": [0, 0, 40]}, False),
    ],
)
def test_what_no_worker_writes_is_no_prediction(fields, readable):
    """Anybody may write to a topic: what could not be counted live is not counted from there."""
    body = json.dumps({"domain": "films", "exit_labels": [0, 0, 1], "model": "abc"} | fields)
    read = read_prediction(body.encode(), fingerprint="abc", exits=3)
    assert (read is not None) is readable


@pytest.mark.parametrize(
    ("fields", "readable"),
    [
        ({"chosen_exit": 0}, False),  # a text of the holdout runs to the last exit
        ({"chosen_exit": 2}, False),  # let go, by which gate
        ({"chosen_exit": 2, "gate": 900}, True),
        ({"chosen_exit": 3, "gate": 900}, False),
    ],
)
def test_a_text_that_stopped_early_was_let_go_or_chosen_so(fields, readable):
    """Only a text that a gate was applied to may have stopped before its exit."""
    body = json.dumps({"domain": "films", "exit_labels": [0, 0], "model": "abc"} | fields)
    read = read_prediction(body.encode(), fingerprint="abc", exits=3)
    assert (read is not None) is readable
