"""Prints what stands in topics, for a Python in the cluster that has no files of ours.

A line for each record: its topic and time, and the topic, partition and offset of the input that
it is, or is an answer to.
"""

import sys

import orjson
from kafka import KafkaConsumer, TopicPartition

_TIMEOUT_MS = 5_000


def main(bootstrap: str, *topics: str) -> None:
    """Print the committed records of topics, up to where they end now."""
    consumer = KafkaConsumer(
        bootstrap_servers=bootstrap,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    partitions = [
        TopicPartition(topic, number)
        for topic in topics
        for number in consumer.partitions_for_topic(topic)
    ]
    consumer.assign(partitions)
    ends = consumer.end_offsets(partitions)
    while any(consumer.position(partition) < ends[partition] for partition in partitions):
        for records in consumer.poll(timeout_ms=_TIMEOUT_MS).values():
            for record in records:
                place = "/".join(map(str, _input_of(record)))
                sys.stdout.write(f"{record.topic} {record.timestamp} {place}\n")
    consumer.close()


def _input_of(record) -> tuple[str, int, int]:
    headers = dict(record.headers)
    if "offramp.error.topic" in headers:
        said = [headers[f"offramp.error.{name}"] for name in ("topic", "partition", "offset")]
        return said[0].decode(), int(said[1]), int(said[2])
    if not record.topic.startswith("texts."):
        source = orjson.loads(record.value)["source"]
        return source["topic"], source["partition"], source["offset"]
    return record.topic, record.partition, record.offset


if __name__ == "__main__":
    main(*sys.argv[1:])
