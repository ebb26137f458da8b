"""Events on the wire: what is accepted, what is refused and how, what goes out."""

import json
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.errors import InvalidEvent
from consumer.events import Fields, dead_letter_headers, encode_prediction, parse, timestamp_ms
from consumer.records import DeadLetter, Event, Prediction, Record


def record(value, **changes):
    facts = {"topic": "texts.films", "partition": 3, "offset": 1289, "timestamp_ms": 1000}
    return Record(**(facts | changes), key=b"k", value=value)


def test_json_event_with_all_fields_is_read():
    """Every documented field arrives, and an unknown one can be asked for by name."""
    value = {"text": "fine", "id": 7, "domain": "films", "timestamp": 5, "label": 1, "shop": "x"}
    body = parse(record(json.dumps(value).encode()), form="auto")
    assert (body.text, body.id, body.domain, body.timestamp, body.label) == (
        "fine",
        7,
        "films",
        5,
        1,
    )
    assert body.field("shop") == "x"
    assert body.field("absent") is None


def test_plain_text_is_the_text():
    """A value that is no JSON object is the text itself."""
    assert parse(record("schön, wirklich".encode()), form="auto").text == "schön, wirklich"
    assert parse(record(b'{"text": "x"}'), form="text").text == '{"text": "x"}'


@pytest.mark.parametrize(
    ("value", "form", "reason"),
    [
        (None, "auto", "null-value"),
        (b"", "auto", "empty-text"),
        (b" \n ", "auto", "empty-text"),
        (b"\xff", "auto", "invalid-utf8"),
        (b"{", "auto", "invalid-json"),
        (b'{"text": "\xff"}', "auto", "invalid-json"),
        (b"plain", "json", "invalid-json"),
        (b"[1]", "json", "invalid-field"),
        (b"{}", "auto", "missing-text"),
        (b'{"text": null}', "auto", "missing-text"),
        (b'{"text": "a", "timestamp": -1}', "auto", "invalid-field"),
        (b'{"text": "a", "id": ""}', "auto", "invalid-field"),
        (b"{" * 100_000, "auto", "invalid-json"),
    ],
)
def test_bad_values_are_refused_with_a_reason(value, form, reason):
    """Each kind of bad input has its own stable reason."""
    with pytest.raises(InvalidEvent) as caught:
        parse(record(value), form=form)
    assert (caught.value.stage, caught.value.reason) == ("parse", reason)


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(value):
    """No input raises anything but InvalidEvent."""
    with suppress(InvalidEvent):
        assert parse(record(value), form="auto").text.strip()


def test_error_messages_do_not_hold_the_text():
    """A customer's text never gets into a log or a header through an error."""
    with pytest.raises(InvalidEvent) as caught:
        parse(record(b'{"text": ["my secret text"]}'), form="auto")
    assert "secret" not in str(caught.value)


def test_time_of_the_event_wins_over_the_records():
    """The event's timestamp is kept, as milliseconds, else the record's is taken."""
    moment = datetime(2026, 1, 2, tzinfo=UTC)
    for given_time, expected in ((5, 5), (moment.isoformat(), 1767312000000), (None, 1000)):
        value = json.dumps({"text": "a", "timestamp": given_time}).encode()
        assert timestamp_ms(parse(record(value), form="auto"), record(value)) == expected


def prediction(**changes):
    event = Event(record(b"x"), "id-1", "x", "films", 77, "out")
    facts = {
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
    source = json.loads(encode_prediction(prediction(), topic_id="i1"))["source"]
    assert source == {
        "topic": "texts.films",
        "partition": 3,
        "offset": 1289,
        "topic_id": "i1",
    }


def test_dead_letter_headers_say_what_and_where():
    """The headers name stage, reason and place, and cannot carry control characters."""
    source = Record("t", 1, 2, 3, None, b"v", (("own", b"1"),))
    letter = DeadLetter(source, "parse", "invalid-json", "bad\x1b[31m\u202e value")
    headers = dict(dead_letter_headers(letter, instance="w", version="1"))
    assert headers["own"] == b"1"
    assert headers["offramp.error.stage"] == b"parse"
    assert headers["offramp.error.class"] == b"invalid-json"
    assert headers["offramp.error.message"] == b"bad [31m  value"
    place = {name: headers[f"offramp.error.{name}"] for name in ("topic", "partition", "offset")}
    assert place == {"topic": b"t", "partition": b"1", "offset": b"2"}
    assert headers["offramp.error.timestamp"] == b"3"


def test_fields_are_found_by_path():
    """Each field may stand elsewhere, however deep; its old name means nothing then."""
    fields = Fields(text="payload.text", id="meta.id", label="stars", timestamp="payload.at.ms")
    value = {
        "text": "old",
        "payload": {"text": "good", "at": {"ms": 17}, "shop": "a"},
        "meta": {"id": 3},
        "stars": 1,
        "domain": "films",
    }
    body = parse(record(json.dumps(value).encode()), form="json", fields=fields)
    assert (body.text, body.id, body.label, body.timestamp) == ("good", 3, 1, 17)
    assert (body.domain, body.field("payload.shop"), body.field("payload.no.way")) == (
        "films",
        "a",
        None,
    )


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b'{"text": "a"}', "missing-text"),
        (b'{"payload": "a"}', "missing-text"),
        (b'{"payload": {"text": 5}}', "missing-text"),
        (b'["a"]', "invalid-field"),
        (b"{", "invalid-json"),
        (b'{"a": ' * 5000, "invalid-json"),
        (b'{"payload": {"text": "a"}, "b": ' + b"[" * 500 + b"]" * 500 + b"}", "invalid-field"),
        (b'{"payload": {"text": "\xff"}}', "invalid-json"),
        (b'{"payload": {"text": " "}}', "empty-text"),
    ],
)
def test_what_is_wrong_behind_a_path_is_told_too(value, reason):
    """Where fields have paths, the classes of errors are the same."""
    with pytest.raises(InvalidEvent) as caught:
        parse(record(value), form="json", fields=Fields(text="payload.text"))
    assert caught.value.reason == reason
