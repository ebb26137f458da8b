"""The whole path on a real Kafka and a real Redis: two workers, four topics, 5,000 events."""

import re
import signal
from collections import Counter

import orjson
from kafka import KafkaProducer

from policy_state.reports.domain import read_reports
from policy_state.store.redis.store import RedisStore
from tests.support.kafka_records import read_topic
from tests.support.waiting import wait_for
from tests.support.workers.fleet import DOMAINS, offramp_json, topic_of

EVENTS = 5_000
TIMEOUT_S = 90


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
    assert [h["offramp.error.class"].decode() for h in headers] == [class_ for _, class_ in bad]
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
