"""Avro and Protobuf through a registry on a real Kafka; the registry is a double over loopback."""

import io

import fastavro
import orjson
import pytest
from kafka import KafkaProducer

from tests.support.kafka_records import read_topic
from tests.support.long_form import IS_LONG
from tests.support.servers.registry import SchemaRegistry, framed, protobuf_class
from tests.support.waiting import wait_for
from tests.support.workers.fleet import topic_of

SCHEMA = {
    "type": "record",
    "name": "Review",
    "fields": [{"name": "body", "type": "string"}, {"name": "shop", "type": "string"}],
}
PROTO = """
syntax = "proto3";
message Review { string body = 1; string shop = 2; int64 at_ms = 3; }
"""
GOOD = 60
AT_MS = 1_700_000_000_123


@pytest.fixture
def registry():
    with SchemaRegistry().running() as double:
        yield double


def avro_values():
    """Return a schema, good values, and bad ones with their classes."""
    parsed = fastavro.parse_schema(SCHEMA)
    good = []
    for i in range(GOOD):
        stream = io.BytesIO()
        fastavro.schemaless_writer(stream, parsed, {"body": f"good film {i}", "shop": f"s{i % 2}"})
        good.append(framed(7, stream.getvalue()))
    bad = {b"plain": "invalid-framing", framed(8, b""): "unknown-schema"}
    bad[framed(7, b"\x10a")] = "invalid-avro"
    return SCHEMA, good, bad


def protobuf_values():
    """Return a schema, good values, and bad ones with their classes."""
    review = protobuf_class(PROTO, "Review")
    good = []
    for i in range(GOOD):
        message = review(body=f"good film {i}", shop=f"s{i % 2}", at_ms=AT_MS)
        good.append(framed(7, b"\0" + message.SerializeToString()))
    bad = {framed(7, b"\x02\x02"): "invalid-framing", framed(8, b""): "unknown-schema"}
    bad |= {framed(7, b"\0\x0a"): "invalid-protobuf", framed(9, b"\0"): "invalid-schema"}
    return PROTO, good, bad


FORMS = [("protobuf", protobuf_values), ("avro", avro_values)]


@pytest.mark.parametrize(("form", "values"), FORMS if IS_LONG else FORMS[:1])
def test_a_registry_that_is_away_delays_good_values_and_loses_none(
    fleet, kafka, registry, form, values
):
    """While it fails nothing is committed; then the good are predicted, the bad dead letters."""
    schema, good, bad = values()
    registry.add(7, schema, kind=form.upper())
    registry.add(9, "message Broken", kind=form.upper())
    registry.status = 503
    fleet.environ |= {
        "OFFRAMP_KAFKA__FORMAT": form,
        "OFFRAMP_KAFKA__REGISTRY": orjson.dumps(
            {"url": registry.url, "timeout_s": 2, "missing_s": 0}
        ).decode(),
        "OFFRAMP_KAFKA__FIELDS": '{"text": "body", "domain": "shop", "timestamp": "at_ms"}',
    }
    producer = KafkaProducer(bootstrap_servers=kafka, acks="all", linger_ms=20)
    for i, value in enumerate(good):
        producer.send(topic_of(fleet.prefix, "films"), value, key=b"%d" % i)
    for value in bad:
        producer.send(topic_of(fleet.prefix, "films"), value, key=b"bad")
    producer.flush(timeout=30)
    producer.close()
    fleet.start("a")
    wait_for(lambda: "answers 503" in fleet.log("a"))
    assert " events=" not in fleet.log("a")
    registry.status = 200
    found = read_topic(kafka, f"{fleet.prefix}-out", want=GOOD)
    assert sorted(int(record.key) for record in found) == list(range(GOOD))
    predictions = [orjson.loads(record.value) for record in found]
    assert {prediction["domain"] for prediction in predictions} == {"s0", "s1"}
    if form == "protobuf":  # a number of 64 bits, which JSON has as text
        assert {prediction["timestamp"] for prediction in predictions} == {AT_MS}
    letters = read_topic(kafka, f"{fleet.prefix}-dead", want=len(bad))
    said = {r.value: dict(r.headers)["offramp.error.class"].decode() for r in letters}
    assert said == bad
