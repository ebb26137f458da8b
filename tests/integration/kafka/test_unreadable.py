"""Batches that cannot be read cost nothing but themselves; on a real broker, with a real worker."""

import json
import signal
import time
from collections import Counter
from contextlib import contextmanager

import pytest
from kafka import KafkaAdminClient, KafkaProducer
from typer.testing import CliRunner

from consumer.cli.app import app
from consumer.events.record import header_name
from consumer.kafka.dead_letters import read_letters
from consumer.kafka.reading.reader import TopicReader
from consumer.settings.sections import KafkaSettings
from deploy.local.services import start_kafka
from policy_state.reports.domain import read_reports
from policy_state.store.redis.store import RedisStore
from tests.support.kafka_records import good, ids, send
from tests.support.topics import create_topics
from tests.support.waiting import wait_for
from tests.support.workers.fleet import offramp_json, topic_of

IN, OUT, DEAD = "ends.films", "ends.out", "ends.dead"  # what `start` has its workers read and write
RAW = (header_name(b"\xffname"), b"\x00value")


@pytest.fixture
def broker():
    """Return a broker of its own: its files are damaged."""
    with start_kafka() as server:
        create_topics(server.address, {IN: 2, OUT: 1, DEAD: 1})
        yield server


@contextmanager
def producer(broker, **options):
    made = KafkaProducer(bootstrap_servers=broker.address, acks="all", linger_ms=500, **options)
    yield made
    made.flush(timeout=30)
    made.close()


def write(broker, records, *, partition=0, headers=(), **options):
    """Write records as one batch."""
    with producer(broker, **options) as made:
        for key, value in records:
            made.send(IN, key=key, value=value, partition=partition, headers=list(headers))


def damage(broker, value):
    """Change a byte of a record in the broker's own files, which are what it sends."""
    file = broker.home / "data" / f"{IN}-0" / f"{0:020}.log"
    data = file.read_bytes()
    with file.open("r+b") as log:
        log.seek(data.index(value))
        log.write(b"\xfe")


def committed(broker):
    with KafkaAdminClient(bootstrap_servers=broker.address) as admin:
        found = admin.list_group_offsets(["ends"])["ends"]
    return {tp.partition: entry.offset for tp, entry in found.items() if tp.topic == IN}


def fill(broker):
    """Write six batches: of these lz4, a damaged one, and one with a raw name of a header."""
    write(broker, good(10))
    write(broker, good(10, first=10), compression_type="lz4")
    write(broker, good(10, first=20))
    write(broker, [(b"k", b'{"id": "raw", "text": "good"}'), (b"k", b"\xff")], headers=[RAW])
    write(broker, [(b"k", b"damaged %d" % i) for i in range(10)])
    damage(broker, b"damaged 4")
    write(broker, good(10, first=30))


def test_what_cannot_be_read_is_a_letter_and_all_else_goes_on(broker, start, redis_url):
    """Each batch once, by its offsets; the rest is predicted, counted, committed; SIGTERM holds."""
    fill(broker)
    write(broker, good(50, first=100), partition=1)
    worker, log = start(broker.address, module="tests.support.workers.codecless_worker")
    expected = [f"e{i}" for i in (*range(10), *range(20, 40), *range(100, 150))] + ["raw"]
    found = Counter(ids(broker.address, OUT, want=81))
    assert found == Counter(expected), log()
    settings = KafkaSettings(bootstrap_servers=broker.address, dead_letters=DEAD)
    wait_for(lambda: len(list(read_letters(settings))) == 3)
    letters = {letter.error["class"]: letter for letter in read_letters(settings)}
    assert set(letters) == {"no-codec", "wrong-checksum", "invalid-utf8"}
    assert letters["no-codec"].source == f"{IN}[0]@10-19"
    assert (
        "compressed with codec 3, which is not known here" in letters["no-codec"].error["message"]
    )
    assert letters["wrong-checksum"].source == f"{IN}[0]@32-41"
    assert letters["wrong-checksum"].error["stage"] == "read"
    assert b"damaged 9" in (letters["wrong-checksum"].value or b"")
    (header,) = letters["invalid-utf8"].headers
    assert (header[0].encode(), header[1]) == (b"\xffname", RAW[1])
    assert wait_for(lambda: committed(broker) == {0: 52, 1: 50})
    with RedisStore(redis_url) as store:
        assert sum(d.exits[0].observed for d in read_reports(store, "default")) == 81
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(30) == 0, log()
    check_commands(broker)


def check_commands(broker):
    """`offramp dlq` lists and shows such letters, and sends them back to nowhere."""

    def dlq(*args):
        options = ["--dead-letters", DEAD, "-b", broker.address]
        result = CliRunner().invoke(app, ["dlq", *args, *options], env={"COLUMNS": "200"})
        assert result.exit_code == 0, result.output
        return result

    listed = dlq("list", "--stage", "read").stdout
    assert f"{IN}[0]@10-19" in listed
    assert f"{IN}[0]@32-41" in listed
    (raw,) = json.loads(dlq("list", "--class", "invalid-utf8", "-o", "json").stdout)
    assert raw["headers"] == {"\\xffname": "\x00value"}
    assert "header \\xffname: \\x00value" in dlq("show", raw["position"]).stdout
    replayed = dlq("replay", "--yes")
    assert "2 letters left out: they hold a batch that could not be read" in replayed.stderr
    assert f"1 letter sent to {IN}" in replayed.stderr


def test_skip_and_stop_hold_for_what_cannot_be_read(broker, start):
    """`errors.read`: stop names the batch before its end, skip names it and continues."""
    fill(broker)
    worker, log = start(broker.address, ERRORS__READ="stop")
    assert worker.wait(60) == 1, log()
    assert f"StoppedByError: {IN}[0]@32-41: read: the checksum" in log().splitlines()[-1]
    worker, log = start(broker.address, ERRORS__READ="skip")
    assert len(ids(broker.address, OUT, want=41)) == 41, log()
    assert f"skipped position={IN}[0]@32-41 class=wrong-checksum" in log()
    assert wait_for(lambda: committed(broker).get(0) == 52)


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
def test_what_the_broker_itself_compresses_is_read(kafka, codec):
    """A topic's `compression.type` holds whatever its producers do."""
    topic = f"packed-{codec}-{time.time_ns()}"
    config = {"num_partitions": 1, "configs": {"compression.type": codec}}
    with KafkaAdminClient(bootstrap_servers=kafka) as admin:
        admin.create_topics({topic: config})
    create_topics(kafka, {topic: 1})  # waits until it has a leader
    send(kafka, topic, good(300))
    with TopicReader(KafkaSettings(bootstrap_servers=kafka), [topic]) as reader:
        assert [record.value for record in reader.records()] == [value for _, value in good(300)]


def test_commands_that_read_a_topic_come_to_its_end(broker):
    """`policy rebuild` and the like leave out what cannot be read, and say so."""
    fill(broker)
    settings = KafkaSettings(bootstrap_servers=broker.address)
    with TopicReader(settings, [IN]) as reader:
        assert len([record.value for record in reader.records()]) == 42


def test_a_topic_that_may_not_be_read_stands_still_alone(fleet, secured):
    """Log and heartbeat name it and the command that fixes it; then it is read, each text once."""
    films, hotels = (topic_of(fleet.prefix, domain) for domain in ("films", "hotels"))
    out = f"{fleet.prefix}-out"
    create_topics(secured.plain, {films: 1, hotels: 1, out: 1, f"{fleet.prefix}-dead": 1})
    secured.allow_all(fleet.prefix)
    secured.forbid("TOPIC", fleet.prefix)
    secured.allow("TOPIC", fleet.prefix, "DESCRIBE", "WRITE")
    secured.allow("TOPIC", films, "READ")
    settings = secured.settings("SCRAM-SHA-256")
    fleet.environ["OFFRAMP_KAFKA__BOOTSTRAP_SERVERS"] = settings.bootstrap_servers
    security = settings.security.model_dump_json(exclude_none=True)
    fleet.environ["OFFRAMP_KAFKA__SECURITY"] = security
    send(secured.plain, hotels, good(10))
    send(secured.plain, films, good(10, first=10))
    fleet.start("a", "tests.support.workers.crashing_worker")

    def said():
        (worker,) = offramp_json(fleet, "policy", "workers")["workers"]
        return worker.get("stands_still")  # left out where it is empty

    assert ids(secured.plain, out, want=10) == [f"e{i}" for i in range(10, 20)], fleet.log("a")
    assert wait_for(said).startswith(f"{hotels}[0] may not be read: allow it with `kafka-acls.sh")
    assert fleet.log("a").count(f"stands still partitions={hotels}[0] ") == 1
    secured.allow("TOPIC", hotels, "READ")
    assert sorted(ids(secured.plain, out, want=20)) == sorted(f"e{i}" for i in range(20))
    wait_for(lambda: not said())
    assert f"continues partitions={hotels}[0]" in fleet.log("a")
