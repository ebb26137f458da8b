"""Rows of files as events: what of a row is written, and under which name."""

import json

import pytest

from consumer.errors import InvalidSettings
from consumer.kafka.writing.producing import produce_file, read_events
from consumer.settings.sections import KafkaSettings
from model.texts.rows import Layout

RENAMED = Layout(text="review", label="stars")


@pytest.mark.parametrize(
    ("name", "content", "layout", "expected"),
    [
        ("a.tsv", "text\tlabel\tx\n\"it's\t1\ty\n", Layout(), {"text": "\"it's", "label": "1"}),
        ("a.csv", 'id,text\n7,"a, b"\n', Layout(), {"id": "7", "text": "a, b"}),
        ("a.jsonl", '{"text": "a", "shop": 1}\n', Layout(), {"text": "a", "shop": 1}),
        ("a.txt", "one\r\n", Layout(), {"text": "one"}),
        ("a.csv", "text,review,label,stars\na,b,1,2\n", RENAMED, {"text": "b", "label": "2"}),
        (
            "a.jsonl",
            '{"text": "a", "review": "b", "label": 1, "stars": 2, "shop": 3}\n',
            RENAMED,
            {"text": "b", "label": 2, "shop": 3},
        ),
    ],
)
def test_an_event_has_the_text_of_the_column_that_was_named(
    tmp_path, name, content, layout, expected
):
    """Also where another column is called `text` or `label`: that one is not what was asked for."""
    path = tmp_path / name
    path.write_text(content, newline="")
    assert [json.loads(event) for _, event in read_events(path, layout)] == [expected]


def test_an_illegal_topic_is_told_before_the_file_is_read(tmp_path):
    """The error is of the topic, and does not blame a line of the file."""
    with pytest.raises(InvalidSettings, match=r"^'no topic/this' cannot be the name of a topic: "):
        produce_file(tmp_path / "absent.tsv", topic="no topic/this", settings=KafkaSettings())
