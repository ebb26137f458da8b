"""librdkafka as the other side of a storm: it writes in transactions and reads what came out."""

from __future__ import annotations

import time
from contextlib import closing
from typing import TYPE_CHECKING

import orjson
from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition

if TYPE_CHECKING:
    from random import Random

    from tests.support.workers.arena import Arena

_ANSWER_S = 30.0
_EVENTS_MAX = 40  # in a transaction
_CODECS = ("none", "gzip", "snappy", "lz4", "zstd")


def write_transactions(arena: Arena, count: int, *, topic: int, rng: Random) -> int:
    """Write so many events that are committed, and more that are aborted; return how many these."""
    producer = Producer(
        {
            "bootstrap.servers": arena.kafka,
            "transactional.id": f"{arena.prefix}-{time.time_ns()}",
            "compression.type": rng.choice(_CODECS),
        }
    )
    producer.init_transactions(_ANSWER_S)
    left, aborted = count, 0
    while left:
        size = min(left, rng.randint(1, _EVENTS_MAX))
        is_kept = rng.random() < 0.6
        producer.begin_transaction()
        for _ in range(size):
            event_id = f"e{len(arena.sent)}" if is_kept else f"aborted{aborted}"
            if is_kept:
                arena.note(event_id, f"{arena.prefix}.in{topic}")
            else:
                aborted += 1
            producer.produce(
                f"{arena.prefix}.in{topic}",
                key=event_id.encode(),
                value=orjson.dumps({"id": event_id, "text": "good film ."}),
                headers=[("domain", b"a")],
            )
        if is_kept:
            producer.commit_transaction(_ANSWER_S)
            left -= size
        else:
            producer.flush(_ANSWER_S)  # so that it is in the log, and a reader has to leave it out
            producer.abort_transaction(_ANSWER_S)
    return aborted


def read_keys(kafka: str, topic: str) -> list[str]:
    """Return the keys of a topic's committed records, as librdkafka reads them."""
    settings = {
        "bootstrap.servers": kafka,
        "group.id": "nobody",
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "isolation.level": "read_committed",
    }
    found: list[str] = []
    with closing(Consumer(settings)) as consumer:
        numbers = consumer.list_topics(topic, timeout=_ANSWER_S).topics[topic].partitions
        consumer.assign([TopicPartition(topic, n, OFFSET_BEGINNING) for n in numbers])
        ended: set[int] = set()
        while len(ended) < len(numbers):
            for message in consumer.consume(500, timeout=1.0):
                if message.error() is None:
                    found.append(message.key().decode())
                else:
                    ended.add(message.partition())
    return found
