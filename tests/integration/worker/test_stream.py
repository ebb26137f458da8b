"""The whole path on a real Kafka and a real Redis: two workers, four topics, 5,000 events."""

import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import orjson
import pytest
from kafka import KafkaProducer

from consumer.kafka.topics import create_topics
from policy_state.reports.domain import read_reports
from policy_state.store.redis.store import RedisStore
from tests.support.kafka_records import committed_reader
from tests.support.tiny_model import write_tiny_model

DOMAINS = ("films", "hotels", "news", "zürich+food")
EVENTS = 5_000
TIMEOUT_S = 90


def topic_of(prefix, domain):
    return f"{prefix}.{DOMAINS.index(domain)}"


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("model"))


class Fleet:
    """Worker processes with one configuration."""

    def __init__(self, environ, logs: Path) -> None:
        self.environ = environ
        self.logs = logs
        self.running: dict[str, subprocess.Popen] = {}

    def start(self, name: str, module: str = "consumer") -> subprocess.Popen:
        with (self.logs / f"{name}.log").open("ab") as log:
            self.running[name] = subprocess.Popen(
                [sys.executable, "-m", module, "worker"],
                env={
                    **os.environ,
                    **self.environ,
                    "OFFRAMP_INSTANCE": name,
                    "OMP_NUM_THREADS": "1",
                },
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        return self.running[name]

    def log(self, name: str) -> str:
        return (self.logs / f"{name}.log").read_text(errors="replace")

    def stop(self) -> None:
        for process in self.running.values():
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.running.values():
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.fixture
def fleet(kafka, redis_url, model_folder, tmp_path):
    prefix = f"t{time.time_ns()}"
    environ = {
        "OFFRAMP_KAFKA__BOOTSTRAP_SERVERS": kafka,
        "OFFRAMP_KAFKA__GROUP": prefix,
        "OFFRAMP_KAFKA__DEAD_LETTERS": f"{prefix}-dead",
        "OFFRAMP_REDIS__URL": redis_url,
        "OFFRAMP_MODEL__PATH": str(model_folder),
        "OFFRAMP_ROUTES": orjson.dumps(
            [
                {
                    "topics": rf"{prefix}\.\d",
                    "domain": "field:domain",
                    "output": f"{prefix}-out",
                }
            ]
        ).decode(),
    }
    topics = {topic_of(prefix, domain): 2 for domain in DOMAINS}
    create_topics(kafka, {**topics, f"{prefix}-out": 3, f"{prefix}-dead": 1})
    fleet = Fleet(environ, tmp_path)
    fleet.prefix = prefix
    yield fleet
    fleet.stop()


def wait_for(condition, timeout_s=120):
    """Return what `condition` returns once it is true; fail where it is not in time."""
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not true after {timeout_s} s"
        time.sleep(0.2)
    return found


def offramp_json(fleet, *args):
    """Return what a command prints."""
    result = subprocess.run(
        [sys.executable, "-m", "consumer", *args, "-o", "json"],
        env={**os.environ, **fleet.environ},
        capture_output=True,
        check=True,
        timeout=60,
    )
    return orjson.loads(result.stdout)


def read_topic(bootstrap, topic, *, want, timeout_s=TIMEOUT_S):
    """Return the committed records of a topic, once there are `want` and no more come for 2 s."""
    consumer = committed_reader(bootstrap, topic)
    found, deadline, quiet_since = [], time.monotonic() + timeout_s, time.monotonic()
    while time.monotonic() < deadline:
        polled = [r for rows in consumer.poll(timeout_ms=200).values() for r in rows]
        found += polled
        if polled or len(found) < want:
            quiet_since = time.monotonic()
        if time.monotonic() - quiet_since > 2:
            break
    consumer.close()
    return found


def test_two_workers_predict_each_event_once_and_learn_together(fleet, kafka, redis_url):
    """Every event gets exactly one prediction, every text is counted once, both workers work."""
    processes = [fleet.start("a"), fleet.start("b")]
    with RedisStore(redis_url) as store:
        wait_for(lambda: len([w for w in store.workers().values() if w.get("partitions")]) == 2)
    producer = KafkaProducer(bootstrap_servers=kafka, acks="all", linger_ms=20)
    for i in range(EVENTS):
        domain = DOMAINS[i % len(DOMAINS)]
        text = ("good film .", "the room was not good !", "bad , very bad service .")[i % 3]
        value = orjson.dumps({"id": f"e{i}", "text": text, "domain": domain, "label": i % 2})
        producer.send(topic_of(fleet.prefix, domain), key=f"k{i}".encode(), value=value)
    producer.flush(timeout=30)
    producer.close()

    found = read_topic(kafka, f"{fleet.prefix}-out", want=EVENTS)
    predictions = [orjson.loads(record.value) for record in found]
    counts = Counter(p["id"] for p in predictions)
    assert counts == Counter(f"e{i}" for i in range(EVENTS)), fleet.log("a")[-2000:]
    for record, p in zip(found, predictions, strict=True):
        assert record.key.decode() == "k" + p["id"][1:]  # the input's key
        assert p["version"] == 1
        assert len(p["exit_labels"]) == p["exit"] + 1
        assert p["label"] == p["exit_labels"][-1]
        assert p["layer"] == (1, 2, 4)[p["exit"]]
        assert p["label_name"] == ("negative", "neutral", "positive")[p["label"]]
        assert p["source"]["topic"] == topic_of(fleet.prefix, p["domain"])

    with RedisStore(redis_url) as store:
        reports = {r.domain: r for r in read_reports(store, "default")}
        assert set(reports) == set(DOMAINS)
        assert sum(r.exits[0].observed for r in reports.values()) == EVENTS
        assert store.totals().stats.texts == EVENTS
        for report in reports.values():
            exits = Counter(p["exit"] for p in predictions if p["domain"] == report.domain)
            assert [e.played for e in report.exits] == [exits[j] for j in range(3)]
        assert store.workers().keys() == {"a", "b"}
        sources = [p["source"] for p in predictions]
        assert {f"{s['topic_id']}/{s['partition']}" for s in sources} == store.watermarks().keys()

    for process in processes:
        process.send_signal(signal.SIGTERM)
    assert [process.wait(30) for process in processes] == [0, 0]
    assert "stopped instance=a" in fleet.log("a")
    worked = [sum(map(int, re.findall(r" events=(\d+)", fleet.log(name)))) for name in "ab"]
    assert sum(worked) == EVENTS
    assert min(worked) > 0


def test_unusable_records_become_dead_letters_and_the_rest_goes_on(fleet, kafka, redis_url):
    """What cannot be parsed or routed keeps its bytes and says why; the others are predicted."""
    bad = [
        (b"\xff\xfe not utf-8", "invalid-utf8"),
        (b'{"text": ', "invalid-json"),
        (b'{"id": "x"}', "missing-text"),
        (b'{"text": 5}', "invalid-field"),
        (b'{"text": ""}', "empty-text"),
        (b"   ", "empty-text"),
        (b'{"text": "a", "domain": "\\u202e"}', "invalid-domain"),
        (b'{"text": "a", "domain": ["x"]}', "invalid-field"),
        (None, "null-value"),
    ]
    long = orjson.dumps({"text": "good " * 30, "domain": "films"})  # the model reads 24 tokens
    good = [b"plain text", long]
    topic = topic_of(fleet.prefix, "films")
    producer = KafkaProducer(bootstrap_servers=kafka, acks="all")
    for value in [good[0], *(value for value, _ in bad), good[1]]:
        producer.send(topic, key=b"k", value=value, headers=[("trace", b"t1")])
    producer.flush(timeout=30)
    producer.close()
    fleet.start("a")

    letters = read_topic(kafka, f"{fleet.prefix}-dead", want=len(bad))
    assert [r.value for r in letters] == [value for value, _ in bad], fleet.log("a")[-2000:]
    headers = [dict(r.headers) for r in letters]
    assert [h["offramp.error.class"].decode() for h in headers] == [reason for _, reason in bad]
    assert [int(h["offramp.error.offset"]) for h in headers] == list(range(1, len(bad) + 1))
    assert {h["trace"] for h in headers} == {b"t1"}
    assert {h["offramp.error.topic"].decode() for h in headers} == {topic}
    listed = offramp_json(fleet, "dlq", "list", "--class", "invalid-json")
    assert [letter["value"] for letter in listed] == ['{"text": ']
    sent = offramp_json(fleet, "dlq", "replay", "--class", "null-value", "--yes")
    assert sent == {topic: 1}
    again = read_topic(kafka, f"{fleet.prefix}-dead", want=len(bad) + 1)[-1]
    assert dict(again.headers)["offramp.error.offset"] == str(len(bad) + 2).encode()
    found = read_topic(kafka, f"{fleet.prefix}-out", want=len(good))
    assert [orjson.loads(r.value)["domain"] for r in found] == ["default", "films"]
    assert [orjson.loads(r.value).get("truncated") for r in found] == [None, True]
    assert " truncated=1 " in fleet.log("a")

    def counted():
        with RedisStore(redis_url) as store:
            return store.workers()["a"].get("truncated") == "1"

    wait_for(counted)
