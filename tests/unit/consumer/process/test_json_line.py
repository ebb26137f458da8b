"""A log line as JSON: what a message says as `key=value` is a field."""

import json
import logging
import sys

import pytest

from consumer.process.json_line import JsonLine


def logged(message, *args, exc_info=None):
    """Return the object that a line is."""
    record = logging.LogRecord("offramp.worker", logging.INFO, "", 0, message, args, exc_info)
    return json.loads(JsonLine("w-0").format(record))


@pytest.mark.parametrize(
    ("message", "args", "said", "fields"),
    [
        ("batch events=%d depth=%.2f", (3, 1.239), "batch", {"events": 3, "depth": 1.24}),
        ("waiting for %s waited_s=%.0f error=%s", ("Redis", 2.4, OSError("no")),
         "waiting for Redis", {"waited_s": 2.0, "error": "no"}),
        ("drift domain=%r %s", ("a b=c", "x=1"), "drift x=1", {"domain": "'a b=c'"}),
        ("log was truncated partition=%s[%d] at=%s", ("t", 3, None),
         "log was truncated[3]", {"partition": "t", "at": None}),
        ("100 % of it", (), "100 % of it", {}),
        ("100 %% of %s", ("it",), "100 % of it", {}),
        ("left_s=%.1f", (float("inf"),), "", {"left_s": "inf"}),
        ("ü\udcff name=%s", ("\udcff\n",), "ü\udcff", {"name": "\udcff\n"}),
        ("%(a)s", ({"a": 1},), "1", {}),
    ],
)  # fmt: skip
def test_fields_are_those_of_the_message(message, args, said, fields):
    """Numbers stay numbers, with the digits that the line for people has."""
    found = logged(message, *args)
    assert found.pop("time").endswith("+00:00")
    expected = {"level": "info", "logger": "offramp.worker", "instance": "w-0", "message": said}
    assert found == expected | fields


def test_a_field_takes_the_place_of_nothing_else():
    """A line that names another instance is still this worker's."""
    assert logged("worker ended instance=%s", "w-1")["instance"] == "w-0"


def test_an_exception_is_one_line():
    """Its traceback is a field."""
    try:
        int("no\nnumber")
    except ValueError:
        found = logged("failed", exc_info=sys.exc_info())
    assert "ValueError: " in found["exception"]
