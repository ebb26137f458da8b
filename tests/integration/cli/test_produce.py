"""`offramp produce` on a real Kafka: what is sent, and what it says where it ends early."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import zstandard

from consumer.kafka.topics import describe_cluster
from consumer.settings.sections import KafkaSettings
from demo.fleet import read_all
from tests.support.topics import create_topics


@pytest.fixture
def topic(kafka):
    """Name of a new topic of two partitions."""
    name = f"texts.p{time.time_ns()}"
    create_topics(kafka, {name: 2})
    return name


def command(*args):
    return [sys.executable, "-m", "consumer", "produce", *map(str, args)]


def produce(*args, stdin=None):
    """Run the command and return how it ended and the seconds it took."""
    begun = time.monotonic()
    result = subprocess.run(
        command(*args), input=stdin, capture_output=True, check=False, timeout=60
    )
    return result, time.monotonic() - begun


def texts_of(kafka, topic):
    return [event["text"] for event in read_all(kafka, topic)]


def test_what_people_bring_is_sent(kafka, topic, tmp_path):
    """Tables with any columns, JSON lines as they are, packed; other columns are left out."""
    table = tmp_path / "a.CSV"
    content = 'id,review,stars,shop\r\n7,"fine,\r\n""really""",five,x\r\n'
    table.write_bytes(b"\xef\xbb\xbf" + content.encode())
    columns = ["--text-column", "review", "--label-column", "stars"]
    result, _ = produce(table, "--to", topic, "-b", kafka, *columns)
    assert result.returncode == 0, result.stderr
    line = '{"text": "as it is", "shop": {"n": 1234567890123456789}, "x": 1.10}'
    packed = tmp_path / "b.jsonl.zst"
    packed.write_bytes(zstandard.compress(line.encode()))
    result, _ = produce(packed, "--to", topic, "-b", kafka, "-o", "json")
    assert json.loads(result.stdout) == {"topic": topic, "sent": 1}, result.stderr
    other = tmp_path / "c.jsonl"
    other.write_text('{"review": "other", "stars": 2, "shop": 3}\n')
    assert produce(other, "--to", topic, "-b", kafka, *columns)[0].returncode == 0
    found = sorted(read_all(kafka, topic), key=lambda event: str(event["text"]))
    assert found == [
        json.loads(line),
        {"text": 'fine,\r\n"really"', "id": "7", "label": "five"},
        {"text": "other", "label": 2, "shop": 3},
    ]


def test_a_topic_that_is_missing_is_told_at_once(kafka, tmp_path):
    """With the command that creates it, rather than after a minute; it is not made by asking."""
    path = tmp_path / "a.txt"
    path.write_text("fine\n")
    missing = f"texts.missing{time.time_ns()}"
    result, seconds = produce(path, "--to", missing, "-b", kafka)
    assert result.returncode == 1
    said = (
        f"error: topic {missing} does not exist; create it with `offramp topics init {missing}`\n"
    )
    assert result.stderr.decode() == said
    assert seconds < 15
    assert missing not in describe_cluster(KafkaSettings(bootstrap_servers=kafka)).partitions
    result, _ = produce(path, "--to", "no topic/this", "-b", kafka)
    assert result.returncode == 1
    assert (
        "error: 'no topic/this' cannot be the name of a topic: use 1..249 letters"
        in result.stderr.decode()
    )
    assert result.stderr.count(b"\n") == 1


@pytest.mark.parametrize(
    "case",
    [
        ("a.csv", b'text\n"one\ntwo"\n"three"four\n', [], b"a.csv:4: not CSV"),
        ("a.csv", b"text\none\ncaf\xe9\n", [], b"a.csv:3: byte 0xe9 at column 4 is not UTF-8"),
        ("a.jsonl", b'{"text": "one"}\n' + b'{"a":' * 99_999, [], b"a.jsonl:2: the JSON is"),
        ("-", b"text\none\ncaf\xe9\n", ["--format", "csv"], b"stdin:3: byte 0xe9"),
        ("-", b'{"text": "one"}\n{"text": "\\udcff"}\n', ["--format", "jsonl"], b"stdin:2: half"),
        ("-", b"one\n", [], b"stdin: has no name that shows the format; give --format"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_two_lines_at_most(kafka, topic, tmp_path, case):
    """How many texts went, which is all before the row, and the line where that row begins."""
    name, content, options, said = case
    path = name if name == "-" else tmp_path / name
    if name != "-":
        path.write_bytes(content)
    result, _ = produce(
        path, "--to", topic, "-b", kafka, *options, stdin=content if name == "-" else None
    )
    assert result.returncode == 1
    *before, error = result.stderr.splitlines()
    assert error.startswith(b"error: ")
    assert said in error
    sent = texts_of(kafka, topic)
    assert len(sent) == len(before) <= 1
    for line in before:
        expected = f"stopped: 1 text was written to {topic}; continue with --skip 1"
        assert line.decode() == expected


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_says_how_many_went_and_skip_goes_on(kafka, topic, tmp_path, stop):
    """The number is exact: with --skip every text is in the topic once."""
    path = tmp_path / "a.txt"
    path.write_text("".join(f"text {i}\n" for i in range(120)))
    running = subprocess.Popen(
        command(path, "--to", topic, "-b", kafka, "--rate", "20"),
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        deadline = time.monotonic() + 30
        while len(texts_of(kafka, topic)) < 5:
            assert time.monotonic() < deadline
            assert running.poll() is None
        running.send_signal(stop)
        _, said = running.communicate(timeout=30)
    finally:
        running.kill()
    assert running.returncode == 128 + stop
    words = said.decode().split()
    count = len(texts_of(kafka, topic))
    assert words[:3] == ["stopped:", str(count), "texts"]
    assert f"continue with --skip {count}" in said.decode()
    result, _ = produce(path, "--to", topic, "-b", kafka, "--skip", count)
    assert result.returncode == 0, result.stderr
    assert sorted(texts_of(kafka, topic)) == sorted(f"text {i}" for i in range(120))


def test_a_record_that_is_too_large_is_named(kafka, topic, tmp_path):
    """By its line; what stands before it is in the topic and counted."""
    path = tmp_path / "a.txt"
    path.write_text("one\n" + "x" * 2_000_000 + "\ntwo\n")
    result, _ = produce(path, "--to", topic, "-b", kafka)
    assert result.returncode == 1
    assert f"error: {path}:2: the record is too large for Kafka" in result.stderr.decode()
    assert b"stopped: 1 text was written" in result.stderr
    assert texts_of(kafka, topic) == ["one"]
