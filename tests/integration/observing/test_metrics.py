"""The figures at a worker's port are exactly what became of the events."""

import os
import signal
import subprocess
import sys

import orjson
import pytest
from kafka import KafkaProducer

from deploy.local.process import free_port
from policy_state.reports.domain import read_reports
from policy_state.store.redis.store import RedisStore
from tests.support.kafka_records import read_topic, send
from tests.support.waiting import wait_for
from tests.support.workers.figures import Port
from tests.support.workers.fleet import topic_of
from tests.support.workers.queries import queries, series_in

SERVERS = ("KAFKA__BOOTSTRAP_SERVERS", "REDIS__URL")
EVENTS, BAD = 1_000, 20
DOMAINS = ("hotels", 'a "b"\\c', "films")


def events(count, first=0):
    """Return events of three domains, of which each 50th is none."""
    made = []
    for i in range(first, first + count):
        value = orjson.dumps({"id": f"e{i}", "domain": DOMAINS[i % 3], "text": "good film ."})
        made.append((b"k", b'{"text": \xff' if i % 50 == 0 else value))
    return made


@pytest.fixture
def port(fleet):
    """The port of the workers that a test starts."""
    number = free_port()
    fleet.environ["OFFRAMP_METRICS__PORT"] = str(number)
    return Port(number)


def start(fleet, processes):
    """Start a worker, or a supervisor of several."""
    with (fleet.logs / "w.log").open("ab") as log:
        fleet.running["w"] = subprocess.Popen(
            [sys.executable, "-m", "consumer", "worker", "--processes", str(processes)],
            env={**os.environ, **fleet.environ, "OFFRAMP_INSTANCE": "w", "OMP_NUM_THREADS": "1"},
            stderr=log,
        )


def check(fleet, port, *, sent, bad):
    """Check the figures once all is committed, against Kafka's and Redis's."""
    kafka, redis_url = (fleet.environ[f"OFFRAMP_{name}"] for name in SERVERS)
    records = "offramp_records_total"
    wait_for(lambda: port.total(records) >= sent), fleet.log("w")
    assert port.of(records, outcome="predicted") == sent - bad
    assert port.of(records, outcome="dead_letter") == bad
    assert port.of(records, outcome="skipped") == 0
    assert port.figures()["offramp_dead_letters_total"] == {
        (("class", "invalid-json"), ("stage", "parse")): bad
    }
    for name in ("queueing", "processing", "end_to_end"):
        assert port.total(f"offramp_{name}_seconds_count") == sent
    assert port.total("offramp_batch_records_sum") == sent
    batches = port.total("offramp_batch_records_count")
    for stage in ("poll", "parse", "tokenise", "decide", "infer", "write", "apply", "commit"):
        assert port.of("offramp_stage_seconds_count", stage=stage) == batches
    written = read_topic(kafka, f"{fleet.prefix}-out", want=sent - bad)
    predictions = [orjson.loads(record.value) for record in written]
    exits = [p["exit"] for p in predictions]
    for exit_ in set(exits):
        assert port.of("offramp_texts_total", exit=str(exit_)) == exits.count(exit_)
    layers = sum(p["layer"] for p in predictions)
    assert port.total("offramp_layers_run_total") == layers
    assert port.total("offramp_layers_full_depth_total") == 4 * (sent - bad)
    held_out = [p for p in predictions if p.get("chosen_exit") is not None]
    agreed = [p for p in held_out if p["exit_labels"][p["chosen_exit"]] == p["exit_labels"][-1]]
    assert port.total("offramp_holdout_texts_total") == len(held_out)
    assert port.total("offramp_holdout_agreed_total") == len(agreed)
    with RedisStore(redis_url) as store:
        read_reports(store, "default", domains=[])  # opens it
        stats = store.totals().stats
    for exit_ in range(3):
        exit_observed = port.of("offramp_exit_observed_total", exit=str(exit_))
        assert exit_observed == stats.observed[exit_]
        exit_disagreed = port.figures()["offramp_exit_disagreed_total"][(("exit", str(exit_)),)]
        assert exit_disagreed == stats.disagreed[exit_]  # 0, too
    wait_for(lambda: port.total("offramp_partition_lag_records") == 0)
    wait_for(lambda: port.total("offramp_pace_records_per_second") > 0)
    assert set(port.figures()["offramp_backlog_seconds"].values()) == {0}
    asked_for = {series for _, query in queries() for series in series_in(query)}
    asked_for = {series for series in asked_for if not series.startswith("offramp_gpu_")}
    assert asked_for <= port.figures().keys()  # by alerts and the dashboard


def test_a_run_of_1000_events_is_counted_exactly(fleet, port, kafka):
    """Each event once, in each metric that counts it; only a listed domain is named."""
    fleet.environ["OFFRAMP_METRICS__DOMAINS"] = orjson.dumps(list(DOMAINS[:2])).decode()
    fleet.environ["OFFRAMP_POLICY__HOLDOUT"] = "0.1"
    send(kafka, topic_of(fleet.prefix, "films"), events(EVENTS))
    start(fleet, 1)
    check(fleet, port, sent=EVENTS, bad=BAD)
    named = {dict(labels)["domain"] for labels in port.figures()["offramp_texts_total"]}
    assert named == {*DOMAINS[:2], ""}
    good = [i for i in range(EVENTS) if i % 50]
    for number, domain in enumerate((*DOMAINS[:2], "")):
        texts = sum(i % 3 == number for i in good)
        assert port.of("offramp_texts_total", domain=domain) == texts


def test_the_port_of_two_processes_adds_them_up_and_outlives_one(fleet, port, kafka, redis_url):
    """One port has the sums of both, exactly, also after one of them was killed.

    With `log.format` each line of both, and of the supervisor, is an object; none has a text.
    """
    fleet.environ["OFFRAMP_LOG__FORMAT"] = "json"
    send(kafka, topic_of(fleet.prefix, "films"), events(EVENTS // 2))
    start(fleet, 2)
    wait_for(lambda: port.total("offramp_records_total") == EVENTS // 2)
    wait_for(lambda: port.status("/ready") == 200)
    with RedisStore(redis_url) as store:
        os.kill(int(store.workers()["w-0"]["pid"]), signal.SIGKILL)
    wait_for(lambda: port.total("offramp_worker_ends_total") == 1)
    assert port.status("/ready") == 503
    wait_for(lambda: port.status("/ready") == 200)
    send(kafka, topic_of(fleet.prefix, "films"), events(EVENTS // 2, first=EVENTS // 2))
    check(fleet, port, sent=EVENTS, bad=BAD)
    lag = "offramp_partition_lag_records"
    wait_for(lambda: len(port.figures().get(lag, {})) == 8)
    lags = [dict(labels) for labels in port.figures()[lag]]
    assert {labels["worker"] for labels in lags} == {"w-0", "w-1"}
    assert len({(labels["topic"], labels["partition"]) for labels in lags}) == 8
    fleet.running["w"].send_signal(signal.SIGTERM)
    assert fleet.running["w"].wait(60) == 0
    lines = [orjson.loads(line) for line in fleet.log("w").splitlines()]
    assert {line["instance"] for line in lines} == {"w", "w-0", "w-1"}
    batches = [line["events"] for line in lines if line["message"] == "batch"]
    assert sum(batches) == EVENTS - BAD
    assert "good film" not in fleet.log("w")


def test_markers_of_transactions_are_no_lag(fleet, port, kafka):
    """Behind the last record of a transaction stands its marker, which nobody commits."""
    start(fleet, 1)
    producer = KafkaProducer(bootstrap_servers=kafka, transactional_id=fleet.prefix)
    producer.init_transactions()
    topic = topic_of(fleet.prefix, "films")
    for _ in range(3):
        producer.begin_transaction()
        for number in range(10):
            value = b'{"text": "good", "domain": "films"}'
            producer.send(topic, partition=0, value=value, key=b"%d" % number)
        producer.commit_transaction()
    producer.close()
    wait_for(lambda: port.of("offramp_records_total", outcome="predicted") == 30)
    lag = "offramp_partition_lag_records"
    labels = (("partition", "0"), ("topic", topic), ("worker", "w"))
    wait_for(lambda: port.figures().get(lag, {}).get(labels) == 0)
