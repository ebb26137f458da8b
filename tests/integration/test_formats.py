"""Avro through a registry on a real Kafka; the registry is a double over loopback."""

import io

import fastavro
import orjson
import pytest
from kafka import KafkaProducer

from tests.integration.test_stream import fleet, model_folder, read_topic, topic_of, wait_for
from tests.registry import SchemaRegistry, framed

__all__ = ["fleet", "model_folder"]

SCHEMA = {
    "type": "record",
    "name": "Review",
    "fields": [{"name": "body", "type": "string"}, {"name": "shop", "type": "string"}],
}
GOOD = 60


@pytest.fixture
def registry():
    with SchemaRegistry().running() as double:
        yield double


def test_a_registry_that_is_away_delays_good_values_and_loses_none(fleet, kafka, registry):
    """While it fails nothing is committed; then the good are predicted, the bad dead letters."""
    registry.add(7, SCHEMA)
    registry.status = 503
    fleet.environ |= {
        "OFFRAMP_KAFKA__FORMAT": "avro",
        "OFFRAMP_KAFKA__REGISTRY": orjson.dumps({"url": registry.url, "timeout_s": 2}).decode(),
        "OFFRAMP_KAFKA__FIELDS": '{"text": "body", "domain": "shop"}',
    }
    parsed = fastavro.parse_schema(SCHEMA)
    producer = KafkaProducer(bootstrap_servers=kafka, acks="all", linger_ms=20)
    for i in range(GOOD):
        stream = io.BytesIO()
        fastavro.schemaless_writer(stream, parsed, {"body": f"good film {i}", "shop": f"s{i % 2}"})
        producer.send(topic_of(fleet.prefix, "films"), framed(7, stream.getvalue()), key=b"%d" % i)
    bad = {b"plain": "invalid-framing", framed(8, b""): "unknown-schema"}
    bad[framed(7, b"\x10a")] = "invalid-avro"
    for value in bad:
        producer.send(topic_of(fleet.prefix, "films"), value, key=b"bad")
    producer.flush(timeout=30)
    producer.close()
    fleet.start("a")
    wait_for(lambda: fleet.log("a").count("answers 503") >= 2)
    assert " events=" not in fleet.log("a")
    registry.status = 200
    found = read_topic(kafka, f"{fleet.prefix}-out", want=GOOD)
    assert sorted(int(record.key) for record in found) == list(range(GOOD))
    assert {orjson.loads(record.value)["domain"] for record in found} == {"s0", "s1"}
    letters = read_topic(kafka, f"{fleet.prefix}-dead", want=len(bad))
    said = {r.value: dict(r.headers)["offramp.error.class"].decode() for r in letters}
    assert said == bad
