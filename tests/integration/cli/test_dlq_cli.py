"""`offramp dlq` as a user runs it, on a real broker."""

import json
import time

import pytest
from kafka import KafkaProducer
from typer.testing import CliRunner

from consumer.cli.app import app
from consumer.errors import StreamUnavailable
from consumer.kafka.dead_letters import read_letters
from consumer.settings.sections import KafkaSettings
from deploy.local.services import start_kafka
from tests.support.kafka_records import read_topic
from tests.support.long_form import IS_LONG
from tests.support.topics import create_topics

LETTERS = (  # value, what is said of the error
    (b'{"text": 1}', {"stage": "parse", "class": "missing-text", "message": "no text"}),
    (b"b", {"stage": "route", "class": "no-route"}),
    (None, {"stage": "parse", "class": "invalid-json", "value_bytes": "9000"}),
    (b"not ours", None),
)


class Dead:
    """A dead-letter topic, and the topic its letters came from."""

    def __init__(self, kafka):
        self.kafka = kafka
        self.source, self.name = f"d{time.time_ns()}.in", f"d{time.time_ns()}.dead"
        create_topics(kafka, {self.source: 1, f"{self.source}2": 1, self.name: 1})
        with KafkaProducer(bootstrap_servers=kafka, acks="all") as producer:
            for offset, (value, error) in enumerate(LETTERS):
                said = {"topic": self.source, "partition": "0", "offset": str(offset)}
                headers = [("own", b"h\x1b")]
                for name, part in (said | error if error else {}).items():
                    headers.append((f"offramp.error.{name}", part.encode()))
                producer.send(self.name, value, key=b"k%d" % offset, headers=headers)

    def run(self, *args, code=0):
        options = ["--dead-letters", self.name, "-b", self.kafka]
        result = CliRunner().invoke(app, ["dlq", *args, *options], env={"COLUMNS": "200"})
        assert result.exit_code == code, result.output
        return result


@pytest.fixture(scope="module")
def dead(kafka):
    return Dead(kafka)


def test_list_tells_each_letter_in_a_line(dead):
    """Place, source, stage, class and message; so many as asked for, oldest first."""
    lines = dead.run("list").stdout.splitlines()
    assert len(lines) == 1 + len(LETTERS)
    for part in ("0@0", f"{dead.source}[0]@0", "parse", "missing-text", "11", "no text"):
        assert part in lines[1]
    assert "?[?]@?" in lines[4]
    assert dead.run("list", "--limit", "2").stdout.splitlines()[1:] == lines[1:3]
    assert dead.run("list", "--stage", "infer").output.strip() == "no dead letters"


def test_a_class_that_no_letter_can_have_is_refused(dead):
    """By `list` and `replay`, with the one that was meant or those there are."""
    assert dead.run("list", "--class", "no-codec").output.strip() == "no dead letters"
    for command in (("list",), ("replay", "--yes")):
        unknown = str(dead.run(*command, "--class", "nonsense", code=1).exception)
        assert "--class nonsense: no dead letter has this class; the classes are: " in unknown
        assert "missing-text" in unknown
    misspelt = str(dead.run("list", "--class", "invalid-jsn", code=1).exception)
    assert misspelt.endswith("did you mean invalid-json?")


def test_show_tells_all_of_one_letter_safe_for_the_terminal(dead):
    """Error, key, headers and value; an unknown position is an error."""
    shown = dead.run("show", "0@0").stdout
    assert "stage: parse\n" in shown
    assert "key: k0\n" in shown
    assert "header own: h" in shown
    assert "\x1b" not in shown
    assert shown.endswith('{"text": 1}\n')
    facts = json.loads(dead.run("show", "0@2", "-o", "json").stdout)
    assert (facts["class"], facts["value"], facts["value_bytes"]) == ("invalid-json", None, "9000")
    assert "no dead letter at 0@9" in str(dead.run("show", "0@9", code=1).exception)


def test_replay_leaves_out_what_cannot_be_sent_and_tells_so(dead, kafka):
    """What is not whole, and what does not say where it came from, unless a topic is named."""
    result = dead.run("replay", "--yes", "-o", "json")
    assert json.loads(result.stdout) == {dead.source: 2}
    assert "1 letter left out: they were too large to be kept whole" in result.stderr
    assert "1 letter left out: they do not say where they came from" in result.stderr
    other = f"{dead.source}2"
    assert json.loads(dead.run("replay", "--to", other, "--yes", "-o", "json").stdout) == {other: 3}
    sent = read_topic(kafka, other, want=3)
    assert [(r.key, r.value) for r in sent] == [
        (b"k0", LETTERS[0][0]),
        (b"k1", b"b"),
        (b"k3", b"not ours"),
    ]
    assert sent[0].headers == [("own", b"h\x1b"), ("offramp.replays", b"1")]


@pytest.mark.skipif(not IS_LONG, reason="a broker of its own, in `make chaos` only")
def test_reading_ends_where_the_broker_says_nothing_any_more():
    """With an error, after the time that an answer may take."""
    with start_kafka() as server:
        create_topics(server.address, {"dead": 1})
        with KafkaProducer(bootstrap_servers=server.address, acks="all") as producer:
            for _ in range(200):
                producer.send("dead", b"x" * 100_000)
        settings = KafkaSettings(
            bootstrap_servers=server.address, dead_letters="dead", request_timeout_s=2
        )
        letters = read_letters(settings)
        next(letters)
        server.pause()
        try:
            with pytest.raises(StreamUnavailable, match="nothing came for 2 s"):
                list(letters)
        finally:
            server.resume()


def test_a_letter_that_cannot_go_back_ends_the_replay_with_what_went(kafka):
    """Its topic is gone, or is none: told at once, with its position and how many were sent."""
    dead = Dead(kafka)
    topics = {"gone": f"gone{time.time_ns()}", "no topic": "no/topic"}
    with KafkaProducer(bootstrap_servers=kafka, acks="all") as producer:
        for stage, topic in topics.items():
            said = {"stage": stage, "class": "c", "topic": topic}
            headers = [(f"offramp.error.{name}", part.encode()) for name, part in said.items()]
            headers.append(("offramp.replays", b"9" * 5000))
            producer.send(dead.name, b"x", headers=headers).get()
    begun = time.monotonic()
    result = dead.run("replay", "--class", "c", "-y", code=1)
    assert f"topic {topics['gone']} does not exist; create it with" in str(result.exception)
    assert "stopped" not in result.output  # nothing had been sent
    result = dead.run("replay", "-y", code=1)
    assert "does not exist" in str(result.exception)
    assert "stopped after sending 2 of 4 letters" in result.stderr
    assert time.monotonic() - begun < 30
    with KafkaProducer(bootstrap_servers=kafka, acks="all") as producer:
        headers = [("offramp.error.topic", b"no/topic"), ("offramp.error.class", b"z")]
        producer.send(dead.name, b"x", headers=headers).get()
    result = dead.run("replay", "--class", "z", "-y", code=1)
    assert "the letter at 0@6: 'no/topic' cannot be the name of a topic" in str(result.exception)
