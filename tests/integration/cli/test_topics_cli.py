"""`offramp topics` as an operator uses it, on a real Redis and Kafka."""

import csv
import io
import json
import time

import yaml
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.structs import OffsetAndMetadata

from consumer.kafka.topics import describe_cluster
from consumer.settings.sections import KafkaSettings
from policy_state.store.groups import ConsumerGroup
from policy_state.store.redis.store import RedisStore
from tests.support.kafka_admin import set_offsets
from tests.support.policy_cli import data
from tests.support.topics import create_topics


def test_topics_that_are_missing_are_listed_as_such(offramp, kafka):
    """Neither partitions nor lag are made up for them: inputs, outputs and dead letters alike."""
    tag = f"m{time.time_ns()}"
    create_topics(kafka, {f"{tag}.films": 2, f"{tag}-out": 1})
    offramp("route", "add", rf"{tag}\.films|{tag}\.news", "--to", f"{tag}-out", "-y")
    with KafkaAdminClient(bootstrap_servers=kafka) as admin:
        admin.delete_topics([f"{tag}-out"])
    rows = data(offramp("topics", "list", "-o", "json"))["topics"]
    found = {r["topic"]: (r["state"], r["partitions"], r["lag"]) for r in rows}
    assert found[f"{tag}.films"] == ("ready", 2, 0)
    assert found[f"{tag}.news"] == found[f"{tag}-out"] == ("missing", None, None)
    table = [line.split() for line in offramp("topics", "list").stdout.splitlines()]
    assert [f"{tag}.news", "input", "missing"] in [line[:3] for line in table]


def test_topics_cannot_be_looked_at_while_kafka_is_away(in_a_process, nobody):
    """One line names the address and the limit, code 1."""
    away = {"OFFRAMP_KAFKA__BOOTSTRAP_SERVERS": nobody}
    done = in_a_process("topics", "init", "texts.x", "--yes", **away)
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert f"no broker answered within 10 s: {nobody}" in line


def test_topics_are_created_once_and_with_sane_settings(offramp, kafka):
    """What is missing is created after a preview; what exists is reported and left as it is."""
    tag = f"i{time.time_ns()}"
    dead = {
        "OFFRAMP_KAFKA__DEAD_LETTERS": f"{tag}-dead",
        "OFFRAMP_KAFKA__POLICY_TOPIC": f"{tag}-policy",
    }
    offramp("route", "remove", "texts", "-y", **dead)
    create_topics(kafka, {f"{tag}-out": 2})
    offramp("route", "add", rf"{tag}\.(?P<domain>.+)", "--to", f"{tag}-out", "-y", **dead)
    offramp("route", "add", rf"{tag}-x|{tag}-y\.z", "--to", f"{tag}-out", "-y", **dead)
    args = ("topics", "init", f"{tag}.films", "--partitions", "3", "--retention", "2d")
    told = offramp(*args, code=3, **dead).stderr
    assert f"{tag}.films (input): 3 partitions, 1 copy, 1 in sync, kept 2 d" in told
    assert "an output has fewer partitions than an input" in told
    rows = data(offramp(*args, "--yes", "-o", "json", **dead))["topics"]
    states = {row["topic"]: (row["role"], row["state"], row["partitions"]) for row in rows}
    assert states == {
        f"{tag}.films": ("input", "created", 3),
        f"{tag}-x": ("input", "created", 3),
        f"{tag}-y.z": ("input", "created", 3),
        f"{tag}-out": ("output", "existed", 2),
        f"{tag}-dead": ("dead-letter", "created", 1),
        f"{tag}-policy": ("policy", "created", 1),
    }
    again = data(offramp(*args, "-o", "json", **dead))
    assert again["created"] == 0
    assert {row["state"] for row in again["topics"]} == {"existed"}
    assert describe_cluster(KafkaSettings(bootstrap_servers=kafka)).partitions[f"{tag}.films"] == 3
    configs = _configs(kafka, f"{tag}-dead")
    assert configs["cleanup.policy"] == "delete"
    assert configs["retention.ms"] == str(30 * 86_400_000)
    assert int(configs["max.message.bytes"]) > 1_048_588
    assert _configs(kafka, f"{tag}-policy")["cleanup.policy"] == "compact"
    wrong = offramp("topics", "init", "elsewhere", code=1, **dead).exception
    assert "no route matches topic elsewhere" in str(wrong)


def test_topics_are_listed_with_lag_route_and_domain(offramp, kafka, environ):
    """Lag is what the group has not committed; every format has the same rows."""
    tag = f"l{time.time_ns()}"
    create_topics(kafka, {f"{tag}.films": 2, f"{tag}.hotels": 1, f"{tag}-out": 1})
    offramp("route", "add", rf"{tag}\.(?P<domain>.+)", "--to", f"{tag}-out", "-y")
    producer = KafkaProducer(bootstrap_servers=kafka, acks="all")
    for i in range(10):
        producer.send(f"{tag}.films", value=b"x", partition=i % 2)
    producer.flush(timeout=30)
    producer.close()
    consumer = KafkaConsumer(bootstrap_servers=kafka, group_id=environ["OFFRAMP_KAFKA__GROUP"])
    tp = TopicPartition(f"{tag}.films", 0)
    consumer.assign([tp])
    consumer.commit({tp: OffsetAndMetadata(3, "", -1)})
    consumer.close(autocommit=False)
    document = data(offramp("topics", "list", "-o", "json"))
    rows = {r["topic"]: r for r in document["topics"] if r["topic"].startswith(tag)}
    films = rows[f"{tag}.films"]
    assert (films["lag"], films["partitions"], films["domain"]) == (7, 2, "films")
    assert (films["route"], films["role"]) == (tag, "input")
    assert (rows[f"{tag}.hotels"]["lag"], rows[f"{tag}-out"]["role"]) == (0, "output")
    assert "deleted" not in offramp("topics", "list").stdout
    assert yaml.safe_load(offramp("topics", "list", "-o", "yaml").stdout) == document
    table = list(csv.DictReader(io.StringIO(offramp("topics", "list", "-o", "csv").stdout)))
    assert {r["topic"] for r in table} == {r["topic"] for r in document["topics"]}


def test_lag_is_of_records_that_can_still_be_read(offramp, kafka, environ, redis_url):
    """What retention took is told apart; where Kafka forgot the group, Redis says where it is."""
    tag, group = f"d{time.time_ns()}", environ["OFFRAMP_KAFKA__GROUP"]
    create_topics(kafka, {f"{tag}.films": 2, f"{tag}-out": 1})
    offramp("route", "add", rf"{tag}\.(?P<domain>.+)", "--to", f"{tag}-out", "-y")
    producer = KafkaProducer(bootstrap_servers=kafka, acks="all")
    for i in range(20):
        producer.send(f"{tag}.films", value=b"x", partition=i % 2)
    producer.flush(timeout=30)
    producer.close()
    admin = KafkaAdminClient(bootstrap_servers=kafka)
    admin.delete_records({TopicPartition(f"{tag}.films", number): 6 for number in range(2)})

    def films():
        rows = data(offramp("topics", "list", "-o", "json"))["topics"]
        return next((r["lag"], r["deleted"]) for r in rows if r["topic"] == f"{tag}.films")

    assert films() == (8, 0), "a group that begins with what is there"
    (topic,) = admin.describe_topics([f"{tag}.films"])
    place = ConsumerGroup(admin.describe_cluster()["cluster_id"], group)
    with RedisStore(redis_url) as store:
        store.begin_group(place, {f"{topic['topic_id']}/0": 2, f"{topic['topic_id']}/1": 9})
    assert films() == (4 + 1, 4)
    set_offsets(admin, group, {TopicPartition(f"{tag}.films", 0): OffsetAndMetadata(1, "", -1)})
    admin.close()
    assert films() == (4 + 1, 5)
    assert "deleted" in offramp("topics", "list").stdout


def _configs(kafka, topic):
    admin = KafkaAdminClient(bootstrap_servers=kafka)
    found = admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
    admin.close()
    text = json.dumps(found, default=str)
    configs = json.loads(text)
    while not {"retention.ms"} & set(configs):
        configs = next(iter(configs.values())) if isinstance(configs, dict) else configs[0]
    return {k: v["value"] if isinstance(v, dict) else v for k, v in configs.items()}
