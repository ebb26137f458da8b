"""What is committed of Kafka's topics, as tests look at it."""

import time

import orjson
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

_TIMEOUT_S = 60.0


def committed_reader(bootstrap: str, *topics: str) -> KafkaConsumer:
    """Return a consumer of all partitions of topics, at their beginning; it belongs to no group."""
    consumer = KafkaConsumer(
        bootstrap_servers=bootstrap,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    consumer.assign(
        [
            TopicPartition(topic, number)
            for topic in topics
            for number in sorted(consumer.partitions_for_topic(topic))
        ]
    )
    return consumer


def committed_records(bootstrap: str, topic: str) -> list:
    """Return the committed records of a topic, up to where it ends now."""
    consumer = committed_reader(bootstrap, topic)
    partitions = consumer.assignment()
    ends = consumer.end_offsets(partitions)
    found = []
    deadline = time.monotonic() + _TIMEOUT_S
    while any(consumer.position(tp) < ends[tp] for tp in partitions):
        assert time.monotonic() < deadline, f"{topic} was not read in {_TIMEOUT_S:.0f} s"
        found += [r for rows in consumer.poll(timeout_ms=200).values() for r in rows]
    consumer.close()
    return found


def read_topic(bootstrap, topic, *, want, timeout_s=_TIMEOUT_S):
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


def send(kafka, topic, records):
    producer = KafkaProducer(
        bootstrap_servers=kafka, acks="all", linger_ms=20, max_request_size=4 << 20
    )
    for key, value in records:
        producer.send(topic, key=key, value=value, partition=0)
    producer.flush(timeout=30)
    producer.close()


def good(count=300, *, first=0):
    return [
        (b"k%d" % i, orjson.dumps({"id": f"e{i}", "text": "good film .", "domain": "films"}))
        for i in range(first, first + count)
    ]


def ids(kafka, topic, *, want):
    return [orjson.loads(r.value)["id"] for r in read_topic(kafka, topic, want=want)]
