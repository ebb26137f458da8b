"""Events on the wire: what is accepted, what is refused and how."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.errors import InvalidEvent
from consumer.events.codec import Fields, parse
from consumer.events.outgoing import dead_letter_headers
from consumer.events.record import DeadLetter, Record


def record(value, **changes):
    facts: dict[str, Any] = {
        "topic": "texts.films",
        "partition": 3,
        "offset": 1289,
        "timestamp_ms": 1000,
    }
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
    ("value", "form", "error_class"),
    [
        (None, "auto", "null-value"),
        (b"", "auto", "empty-text"),
        (b" \n ", "auto", "empty-text"),
        (b"\xff", "auto", "invalid-utf8"),
        (b"{", "auto", "invalid-json"),
        (b'{"text": "\xff"}', "auto", "invalid-json"),
        (b"plain", "json", "invalid-json"),
        (b"[1]", "json", "invalid-field"),
        (b'{"text": "a", "timestamp": 1000000000000000000000}', "auto", "invalid-field"),
        (b'{"text": "a", "timestamp": "2026-01-02T00:00:00"}', "auto", "invalid-field"),
        (b'{"text": "a", "timestamp": NaN}', "auto", "invalid-field"),
        (b'{"text": "a", "timestamp": true}', "auto", "invalid-field"),
        (b'{"text": "a", "id": ' + b"9" * 513 + b"}", "auto", "invalid-field"),
        (b'{"text": "a", "id": ' + b"9" * 5000 + b"}", "auto", "invalid-json"),
        (b'{"text": "\\ud800"}', "auto", "invalid-json"),
        (b"{}", "auto", "missing-text"),
        (b'{"text": null}', "auto", "missing-text"),
        (b'{"text": "a", "timestamp": -1}', "auto", "invalid-field"),
        (b'{"text": "a", "id": ""}', "auto", "invalid-field"),
        (b"{" * 100_000, "auto", "invalid-json"),
    ],
)
def test_bad_values_are_refused_with_a_class(value, form, error_class):
    """Each kind of bad input has its stable class."""
    with pytest.raises(InvalidEvent) as caught:
        parse(record(value), form=form)
    assert (caught.value.stage, caught.value.error_class) == ("parse", error_class)


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


@pytest.mark.parametrize(
    "value",
    [
        b'[{"text": "a"}]',
        b' \n["a"',
        b'"a text"',
        b'"Great film", he said',
        b"null",
        b" 17.5e3\n",
        b"\xef\xbb\xbf[1]",
        b"\x00\x00\x00\x00\x07good film",  # Confluent's frame
        b"\x03\x00good film",  # that of AWS Glue
        "good film".encode("utf-16-le"),
        "good film".encode("utf-16-be"),
    ],
)
def test_auto_refuses_what_may_be_something_else_than_text(value):
    """What begins like JSON or a frame and is no event is never predicted, unless text is set."""
    with pytest.raises(InvalidEvent, match=r"kafka\.format") as caught:
        parse(record(value), form="auto")
    assert caught.value.error_class == "unclear-format"
    assert parse(record(value), form="text").text == value.removeprefix(b"\xef\xbb\xbf").decode()


@pytest.mark.parametrize("value", ["5 stars, really", "nullable", "true story", "(a)", "\tx", "-"])
def test_auto_reads_other_text_as_text(value):
    """A text that merely holds digits, words or signs of JSON is text."""
    assert parse(record(value.encode()), form="auto").text == value


@pytest.mark.parametrize("form", ["auto", "json", "text"])
def test_a_byte_order_mark_is_no_part_of_a_value(form):
    """Windows puts it before UTF-8; what follows is read as if it were not there."""
    value = b"good" if form == "text" else b'{"text": "good"}'
    assert parse(record(b"\xef\xbb\xbf" + value), form=form).text == "good"


@pytest.mark.parametrize("fields", [Fields(), Fields(domain="shop")])
@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("5", 5),
        ('"1767312000000"', 1767312000000),
        ("1.767312e12", 1767312000000),
        ('"2026-01-02T00:00:00Z"', 1767312000000),
        ('"2026-01-02t01:00:00.0009+01:00"', 1767312000000),
        ('"0001-01-01T00:00:00+01:00"', -62135600400000),
        ('"9999-12-31T23:59:59-01:00"', 253402304399000),
        ("9223372036854775807", 2**63 - 1),
        ("null", None),
    ],
)
def test_times_are_milliseconds_in_whatever_form(written, expected, fields):
    """Numbers, digits in a string, and ISO 8601 with any zone near the first and the last year."""
    value = b'{"text": "a", "timestamp": %s}' % written.encode()
    assert parse(record(value), form="json", fields=fields).timestamp == expected


@pytest.mark.parametrize("fields", [Fields(), Fields(domain="shop")])
def test_a_field_has_one_meaning_with_paths_and_without(fields):
    """Big numbers, doubled names and what JSON cannot hold beside the fields change nothing."""
    value = b'{"text": "a", "text": "b", "id": %s, "x": NaN, "y": 1%s}' % (b"9" * 512, b"0" * 400)
    body = parse(record(value), form="json", fields=fields)
    assert (body.text, str(body.id)) == ("b", "9" * 512)


def test_dead_letter_headers_say_what_and_where():
    """The headers name stage, class and position, and cannot carry control characters."""
    source = Record("t", 1, 2, 3, None, b"v", (("own", b"1"), ("null", None)))
    letter = DeadLetter(source, "parse", "invalid-json", "bad\x1b[31m\u202e value\ud800")
    headers = dict(dead_letter_headers(letter, instance="w"))
    assert headers["own"] == b"1"
    assert "null" not in headers
    assert headers["offramp.error.stage"] == b"parse"
    assert headers["offramp.error.class"] == b"invalid-json"
    assert headers["offramp.error.message"] == b"bad [31m  value\\ud800"
    came_from = {
        name: headers[f"offramp.error.{name}"] for name in ("topic", "partition", "offset")
    }
    assert came_from == {"topic": b"t", "partition": b"1", "offset": b"2"}
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
    ("value", "error_class"),
    [
        (b'{"text": "a"}', "missing-text"),
        (b'{"payload": "a"}', "missing-text"),
        (b'{"payload": {"text": 5}}', "invalid-field"),
        (b'["a"]', "invalid-field"),
        (b"{", "invalid-json"),
        (b'{"a": ' * 5000, "invalid-json"),
        (b'{"payload": {"text": "a"}, "b": ' + b"[" * 500 + b"]" * 500 + b"}", "invalid-json"),
        (b'{"payload": {"text": "\xff"}}', "invalid-json"),
        (b'{"payload": {"text": " "}}', "empty-text"),
    ],
)
def test_what_is_wrong_behind_a_path_is_told_too(value, error_class):
    """Where fields have paths, the classes of errors are the same."""
    with pytest.raises(InvalidEvent) as caught:
        parse(record(value), form="json", fields=Fields(text="payload.text"))
    assert caught.value.error_class == error_class


def test_a_text_of_another_kind_is_told_as_what_it_is() -> None:
    """The message has the field, what it is and what is expected, and never what it holds."""
    with pytest.raises(InvalidEvent, match=r"^text is an integer, expected a string$") as number:
        parse(record(b'{"text": 5}'), form="json")
    with pytest.raises(InvalidEvent) as empty:
        parse(record(b'{"text": ""}'), form="json")
    with pytest.raises(InvalidEvent, match=r"^text is missing$"):
        parse(record(b"{}"), form="json")
    assert (number.value.error_class, empty.value.error_class) == ("invalid-field", "empty-text")
