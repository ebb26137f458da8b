"""Files into events: every format, and errors that name the line."""

import json

import pytest
import zstandard

from consumer.errors import InvalidSettings
from consumer.producing import read_events


def events(path, form="auto"):
    return [json.loads(value) for value in read_events(path, form=form)]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.tsv", "text\tlabel\tx\n\"it's\t1\ty\n", [{"text": "\"it's", "label": "1"}]),
        ("a.csv", 'id,text\n7,"a, b"\n', [{"id": "7", "text": "a, b"}]),
        ("a.jsonl", '{"text": "a", "shop": 1}\n\n', [{"text": "a", "shop": 1}]),
        ("a.txt", "one\r\n\ntwo", [{"text": "one"}, {"text": "two"}]),
    ],
)
def test_each_format_is_read(tmp_path, name, content, expected):
    """TSV, CSV, JSONL and lines give events, also when compressed."""
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    assert events(path) == expected
    packed = tmp_path / (name + ".zst")
    packed.write_bytes(zstandard.compress(content.encode()))
    assert events(packed) == expected


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("a.tsv", "body\n", "a.tsv:1: header"),
        ("a.tsv", "text\tlabel\nx\n", "a.tsv:2: 1 columns, expected 2"),
        ("a.jsonl", '{"text": "a"}\n{"id": 1}\n', "a.jsonl:2"),
        ("a.jsonl", "nope\n", "a.jsonl:1: not JSON"),
        ("a.xml", "", "xml"),
    ],
)
def test_errors_name_the_line(tmp_path, name, content, match):
    """What cannot be read is an error with file and line."""
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    with pytest.raises(InvalidSettings, match=match):
        events(path, form="auto" if name != "a.xml" else "xml")


def test_files_that_are_not_text_are_refused(tmp_path):
    """Bytes that are no UTF-8, a broken archive, and no file at all are clear errors."""
    for name, content in (("a.tsv", b"text\n\xff\n"), ("a.tsv.zst", b"nope"), ("b.tsv", None)):
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(InvalidSettings, match=name):
            events(path)
