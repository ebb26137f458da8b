"""What is committed of Kafka's topics, as tests look at it."""

import time

from kafka import KafkaConsumer, TopicPartition

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
