"""The rights of deploy/kafka/acls.sh are enough for each user, and nothing more is."""

import gc
import os
import subprocess
import sys
from pathlib import Path

import orjson
import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, OffsetAndMetadata, TopicPartition
from kafka import errors as kafka_errors
from kafka.admin import NewTopic

from benchmarks.free_model import FreeModel
from consumer.kafka.client import connect
from consumer.settings.load import load_settings
from consumer.shadow.run import Shadow, ShadowOptions
from policy_state.store.redis.store import RedisStore
from policy_state.store.values import PolicyMeta
from tests.support.kafka_records import good, ids, send
from tests.support.topics import create_topics
from tests.support.workers.fleet import topic_of

# kafka-python leaves the socket of a refused client to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
ROOT = Path(__file__).parents[3]
WORKER = "tests.support.workers.crashing_worker"  # it starts without torch
# A stand-in for kafka-acls.sh, which is not among the jars of the tests' Kafka: its options, given
# to the same broker.
ACLS = """
import argparse, os
from kafka import KafkaAdminClient
from kafka.admin import (ACL, ACLOperation, ACLPermissionType, ACLResourcePatternType,
    ResourcePattern, ResourceType)
parser = argparse.ArgumentParser(allow_abbrev=False)
parser.add_argument("--bootstrap-server", required=True)
parser.add_argument("--add", action="store_true", required=True)
parser.add_argument("--allow-principal", required=True)
parser.add_argument("--operation", action="append", required=True)
parser.add_argument("--resource-pattern-type", default="literal")
for kind in ("topic", "group", "transactional-id"):
    parser.add_argument(f"--{kind}", action="append", default=[])
given = parser.parse_args()
pattern = ACLResourcePatternType[given.resource_pattern_type.upper()]
operations = {"DescribeConfigs": "DESCRIBE_CONFIGS"}
acls = [
    ACL(given.allow_principal, "*", ACLOperation[operations.get(name, name.upper())],
        ACLPermissionType.ALLOW, ResourcePattern(ResourceType[kind.upper()], resource, pattern))
    for kind in ("topic", "group", "transactional_id")
    for resource in getattr(given, kind)
    for name in given.operation
]
with KafkaAdminClient(bootstrap_servers=given.bootstrap_server) as admin:
    assert not admin.create_acls(acls)["failed"]
"""


@pytest.fixture(autouse=True)
def _leave_no_socket():
    yield
    gc.collect()


@pytest.fixture
def prefix(fleet, secured):
    """Topics of this test on the broker with access rules, and workers that log in there."""
    create_topics(secured.plain, {topic_of(fleet.prefix, "films"): 2})
    create_topics(secured.plain, {f"{fleet.prefix}-{name}": 1 for name in ("out", "dead", "kept")})
    kafka = secured.settings("SCRAM-SHA-512")
    fleet.environ |= {
        "OFFRAMP_KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "OFFRAMP_KAFKA__SECURITY": kafka.security.model_dump_json(exclude_none=True),
        "OFFRAMP_KAFKA__POLICY_TOPIC": f"{fleet.prefix}-kept",
    }
    yield fleet.prefix
    for kind in ("TOPIC", "GROUP", "TRANSACTIONAL_ID"):
        secured.forget(kind, fleet.prefix)


@pytest.fixture
def give(secured, prefix, tmp_path):
    """Return what runs the script, with the user of the tests as one of its users."""
    program = tmp_path / "kafka-acls"
    program.write_text(f"#!{sys.executable} -P\n{ACLS}")
    program.chmod(0o755)
    others = dict.fromkeys(
        ("WORKER", "PRODUCER", "READER", "OPERATOR", "SHADOW"), "nobody-of-this-test"
    )

    def run(role):
        subprocess.run(
            [ROOT / "deploy" / "kafka" / "acls.sh"],
            env={
                **os.environ,
                **others,
                role: "worker",
                "KAFKA_ACLS": str(program),
                "BOOTSTRAP_SERVERS": secured.plain,
                "GROUP": prefix,
                "INPUTS": f"{topic_of(prefix, 'films')} {prefix}.7",
                "OUTPUTS": f"{prefix}-out",
                "DEAD_LETTERS": f"{prefix}-dead",
                "POLICY_TOPIC": f"{prefix}-kept",
            },
            check=True,
            timeout=120,
        )

    return run


def login(secured):
    """Return how the user of the tests reaches the broker."""
    return connect(secured.settings("SCRAM-SHA-512"))


def write(secured, topic, **options):
    """Write a record as the user of the tests."""
    producer = KafkaProducer(**login(secured), **(options or {"enable_idempotence": False}))
    try:
        if options:
            producer.init_transactions()
            producer.begin_transaction()
        producer.send(topic, value=b"text").get(20)
    finally:
        producer.close(1)


def read(secured, topic, group):
    """Read a record as the user of the tests, as a member of a group."""
    options = {"auto_offset_reset": "earliest", "isolation_level": "read_committed"}
    reader = KafkaConsumer(
        topic, **login(secured), group_id=group, consumer_timeout_ms=20_000, **options
    )
    try:
        return next(iter(reader)).value
    finally:
        reader.close()


def test_a_worker_can_do_its_work_and_nothing_else(give, secured, prefix, fleet):
    """It predicts, sets aside and passes its check; it writes no text and makes no topic."""
    give("WORKER")
    topic = topic_of(prefix, "films")
    send(secured.plain, topic, [*good(20), (b"k", b'{"text": ')])
    fleet.start("a", WORKER)
    assert len(ids(secured.plain, f"{prefix}-out", want=20)) == 20, fleet.log("a")[-3000:]
    assert read_plain(secured.plain, f"{prefix}-dead")
    assert "stands still" not in fleet.log("a")
    with pytest.raises(kafka_errors.TopicAuthorizationFailedError):
        write(secured, topic)
    with pytest.raises(kafka_errors.GroupAuthorizationFailedError):
        read(secured, topic, "another-group")
    with pytest.raises(kafka_errors.TransactionalIdAuthorizationFailedError):
        write(secured, f"{prefix}-out", transactional_id="another-id")
    with KafkaAdminClient(**login(secured)) as admin:
        with pytest.raises(kafka_errors.TopicAuthorizationFailedError):
            admin.create_topics([NewTopic(f"{prefix}.7", 1, 1)])
        with pytest.raises(kafka_errors.TopicAuthorizationFailedError):
            admin.delete_topics([topic])


def read_plain(kafka, topic):
    """Return the first record of a topic."""
    options = {"auto_offset_reset": "earliest", "consumer_timeout_ms": 20_000}
    with KafkaConsumer(topic, bootstrap_servers=kafka, **options) as reader:
        return next(iter(reader)).value


def test_a_producer_can_write_texts_only(give, secured, prefix):
    """It writes inputs; outputs and dead letters are refused, and it reads nothing."""
    give("PRODUCER")
    topic = topic_of(prefix, "films")
    write(secured, topic)
    for name in ("out", "dead", "kept"):
        with pytest.raises(kafka_errors.TopicAuthorizationFailedError):
            write(secured, f"{prefix}-{name}")
    with pytest.raises(kafka_errors.GroupAuthorizationFailedError):
        read(secured, topic, prefix)


def test_a_reader_can_read_predictions_only(give, secured, prefix):
    """It reads outputs in its own group, and can write nowhere."""
    give("READER")
    send(secured.plain, f"{prefix}-out", good(1))
    assert orjson.loads(read(secured, f"{prefix}-out", "worker"))["id"] == "e0"
    with pytest.raises(kafka_errors.GroupAuthorizationFailedError):
        read(secured, f"{prefix}-out", prefix)
    for topic in (topic_of(prefix, "films"), f"{prefix}-out"):
        with pytest.raises(kafka_errors.TopicAuthorizationFailedError):
            write(secured, topic)


def test_a_shadow_can_read_texts_and_predictions_only(give, secured, prefix, fleet):
    """It compares a text, and writes nowhere."""
    give("SHADOW")
    topic, out = topic_of(prefix, "films"), f"{prefix}-out"
    send(secured.plain, topic, good(1))
    source = {"topic": topic, "partition": 0, "offset": 0}
    row = {"domain": "films", "exit_labels": [1], "label_name": "positive", "model": "f1"}
    send(secured.plain, out, [(b"k", orjson.dumps({**row, "source": source}))])
    options = {
        "kafka": secured.settings("SCRAM-SHA-512").model_dump() | {"group": prefix},
        "redis.url": fleet.environ["OFFRAMP_REDIS__URL"],
        "routes": [{"topics": topic, "output": out}],
    }
    with RedisStore(fleet.environ["OFFRAMP_REDIS__URL"]) as store:
        store.open(PolicyMeta("default", "f1", (1, 3, 12)))
        shadow = Shadow(
            load_settings(options=options),
            ShadowOptions(share=1, texts=1, wait_s=0.5),
            store,
            FreeModel(),
        )
        shadow.follow(for_s=30)
        assert shadow.done
    for name in (topic, out):
        with pytest.raises(kafka_errors.TopicAuthorizationFailedError):
            write(secured, name)


def test_an_operator_can_make_topics_and_look_at_dead_letters(give, secured, prefix, fleet):
    """It runs `topics init`, `dlq list` and `policy rebuild`, and can write no record."""
    give("OPERATOR")
    send(secured.plain, f"{prefix}-dead", good(1))

    def offramp(*words):
        return subprocess.run(
            [sys.executable, "-m", "consumer", *words],
            env={**os.environ, **fleet.environ},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    inputs = (topic_of(prefix, "films"), f"{prefix}.7")
    made = offramp("topics", "init", *inputs, "--partitions", "1", "--yes")
    assert made.returncode == 0, made.stdout + made.stderr
    with KafkaAdminClient(bootstrap_servers=secured.plain) as admin:
        assert f"{prefix}.7" in admin.list_topics()
    listed = offramp("dlq", "list")
    assert listed.returncode == 0, listed.stdout + listed.stderr
    with RedisStore(fleet.environ["OFFRAMP_REDIS__URL"]) as store:
        store.open(PolicyMeta("default", "f1", (1, 3, 12)))
    place = TopicPartition(topic_of(prefix, "films"), 0)
    with KafkaConsumer(bootstrap_servers=secured.plain, group_id=prefix) as member:
        member.assign([place])  # so that the group has committed something
        member.commit({place: OffsetAndMetadata(0, "", -1)})
    rebuilt = offramp("policy", "rebuild", "--yes", "--reason", "test")
    assert rebuilt.returncode == 0, rebuilt.stdout + rebuilt.stderr
    for topic in (*inputs, f"{prefix}-out"):
        with pytest.raises(kafka_errors.TopicAuthorizationFailedError):
            write(secured, topic)
