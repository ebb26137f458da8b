"""The command line as a user runs it: help, settings, producing, errors."""

import json
import os
import subprocess
import sys
import time
import tomllib

import pytest
from kafka import KafkaProducer

from demo.fleet import read_all
from tests.support.topics import create_topics


def offramp(*args, environ=None, stdin=None):
    return subprocess.run(
        [sys.executable, "-m", "consumer", *args],
        env={**os.environ, **(environ or {})},
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize(
    "command",
    [
        "worker",
        "produce",
        "policy list",
        "policy show",
        "policy evaluate",
        "lab replay",
        "config show",
    ],
)
def test_help_of_every_command_has_examples(command):
    """`--help` says what the command does and how it is used."""
    result = offramp(*command.split(), "--help")
    assert result.returncode == 0
    assert f"offramp {command}" in result.stdout.split("Examples")[1]


def test_the_command_line_starts_without_torch():
    """Looking at the policy does not wait for torch, transformers or Kafka to be imported."""
    code = (
        "import sys; from typer.testing import CliRunner; from consumer.cli.app import app;"
        "CliRunner().invoke(app, ['config', 'show']);"
        "print(sorted({'torch', 'transformers', 'kafka'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert result.stdout.strip() == "[]"


def test_config_show_prints_toml_that_can_be_used_as_a_file(tmp_path):
    """The table is a settings file; JSON is for programs; passwords are hidden in both."""
    environ = {"OFFRAMP_REDIS__URL": "redis://me:secret@h:1/0"}
    shown = offramp("config", "show", "--set", "batch.max_events=64", environ=environ)
    assert tomllib.loads(shown.stdout)["batch"]["max_events"] == 64
    assert "secret" not in shown.stdout
    path = tmp_path / "offramp.toml"
    path.write_text(shown.stdout)
    again = offramp("config", "show", "-c", str(path), "-o", "json")
    assert json.loads(again.stdout)["batch"]["max_events"] == 64


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["config", "show", "--set", "batch.max_events=0"], "batch.max_events: "),
        (["config", "show", "--set", "nonsense"], "expected NAME=VALUE"),
        (["config", "show", "-c", "absent.toml"], "absent.toml"),
        (["policy", "list", "--redis-url", "redis://127.0.0.1:1/0"], "redis"),
        (["worker", "--model", "absent"], "absent"),
        (["produce", "absent.tsv", "--to", "t", "-b", "127.0.0.1:1"], "absent.tsv"),
    ],
)
def test_errors_are_one_clear_line(args, said):
    """What the user can mend is said in a line, without a traceback, with exit code 1."""
    result = offramp(*args)
    assert result.returncode == 1, result.stderr
    assert result.stderr.startswith("error: ")
    assert said in result.stderr
    assert "Traceback" not in result.stderr


def test_produce_writes_every_text_of_a_file(kafka, tmp_path):
    """The events of a file arrive in the topic, and the count is told."""
    topic = f"texts.p{time.time_ns()}"
    create_topics(kafka, {topic: 2})
    path = tmp_path / "a.tsv"
    path.write_text("text\tlabel\ngood\t1\nbad\t0\nugly\t0\n")
    result = offramp("produce", str(path), "--to", topic, "-b", kafka, "-o", "json")
    assert json.loads(result.stdout) == {"topic": topic, "sent": 3}, result.stderr
    lines = "one\ntwo\nthree\n"
    result = offramp(
        *("produce", "-", "--format", "lines", "--limit", "2", "--rate", "50"),
        *("--to", topic, "-b", kafka),
        stdin=lines,
    )
    assert result.returncode == 0, result.stderr
    found = read_all(kafka, topic)
    assert sorted(str(event["text"]) for event in found) == ["bad", "good", "one", "two", "ugly"]


def test_a_line_that_cannot_be_read_stops_producing_and_is_named(kafka, tmp_path):
    """Nothing behind a broken line is sent."""
    topic = f"texts.p{time.time_ns()}"
    create_topics(kafka, {topic: 1})
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a"}\n{"nope": 1}\n{"text": "b"}\n')
    result = offramp("produce", str(path), "--to", topic, "-b", kafka)
    assert result.returncode == 1
    assert "a.jsonl:2" in result.stderr
    assert all(event["text"] == "a" for event in read_all(kafka, topic))


def test_dead_letters_of_one_stage_go_back_when_confirmed(kafka):
    """Without a yes nothing is sent and the exit code is 3, as with every other change."""
    tag = f"d{time.time_ns()}"
    create_topics(kafka, {f"{tag}.in": 1, f"{tag}.dead": 1})
    producer = KafkaProducer(bootstrap_servers=kafka)
    for stage in ("produce", "parse"):
        said = {"stage": stage, "class": "c", "topic": f"{tag}.in"}
        headers = [(f"offramp.error.{name}", value.encode()) for name, value in said.items()]
        producer.send(f"{tag}.dead", b'{"text": "%s"}' % stage.encode(), headers=headers)
    producer.flush()
    producer.close()
    replay = ("dlq", "replay", "--dead-letters", f"{tag}.dead", "-b", kafka, "--stage", "produce")
    refused = offramp(*replay, stdin="y\n")  # no terminal
    assert (refused.returncode, refused.stdout) == (3, "")
    assert "letters to be sent to where they came from: 1" in refused.stderr
    assert offramp(*replay, "-y").returncode == 0
    assert [event["text"] for event in read_all(kafka, f"{tag}.in")] == ["produce"]
    assert offramp(*replay[:-1], "predict").returncode == 2


def test_a_log_level_that_is_none_is_refused_before_anything_is_tried():
    """With `--check` too."""
    result = offramp("worker", "--log-level", "banana", "--check")
    assert result.returncode == 2
    assert "banana" in result.stderr
