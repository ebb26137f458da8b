"""Topics of predictions in Kafka, the counters they imply, and commands that rebuild them."""

import json
import time
from contextlib import suppress
from random import Random
from typing import Any

import orjson
from kafka import KafkaAdminClient, KafkaProducer, TopicPartition
from kafka.errors import UnknownTopicOrPartitionError
from kafka.structs import OffsetAndMetadata
from typer.testing import CliRunner, Result

from consumer.cli.app import app
from policy_state.stats import ExitStats
from policy_state.store.redis.store import RedisStore
from policy_state.store.values import PartitionDeltas, PolicyMeta
from tests.support.kafka_admin import set_offsets
from tests.support.topics import create_topics

META = PolicyMeta("default", "f1", (1, 3, 7, 12))
TEXTS = 300


class World:
    """An input topic, two topics of predictions, and what workers would have counted."""

    def __init__(self, kafka: str) -> None:
        name = f"r{time.time_ns()}"
        self.kafka, self.group = kafka, name
        self.source, self.out = f"{name}.texts", [f"{name}.out.a", f"{name}.out.b"]
        create_topics(kafka, {self.source: 2, self.out[0]: 2, self.out[1]: 1})
        self.admin = KafkaAdminClient(bootstrap_servers=kafka)
        self.topic_id = self.id_now()
        rng = Random(name)
        self.texts = [
            (number % 2, number // 2, rng.choice("abc"), [rng.randrange(2) for _ in range(3)])
            for number in range(TEXTS)
            if number % 10
        ]

    def delete(self, topic: str) -> None:
        """Delete a topic if there is one, and wait until it is gone."""
        deadline = time.monotonic() + 60
        while topic in self.admin.list_topics():
            assert time.monotonic() < deadline
            with suppress(UnknownTopicOrPartitionError):
                self.admin.delete_topics([topic])
            time.sleep(0.2)

    def id_now(self) -> str:
        """Return the id of the input topic."""
        return str(self.admin.describe_topics([self.source])[0]["topic_id"])

    def predict(self, *, with_id: bool = True) -> None:
        """Write the texts and their predictions as workers do, one transaction aborted."""
        known = {"topic_id": self.topic_id} if with_id else {}
        producer = KafkaProducer(
            bootstrap_servers=self.kafka, transactional_id=self.group, retry_backoff_ms=5
        )
        producer.init_transactions()
        producer.begin_transaction()
        for number in range(TEXTS):
            producer.send(self.source, b"x", partition=number % 2)
        producer.commit_transaction()
        for keep in (False, True):
            producer.begin_transaction()
            for partition, offset, domain, labels in self.texts:
                body = {
                    "domain": domain,
                    "exit_labels": labels,
                    "model": "f1",
                    "source": {"topic": self.source, "partition": partition, "offset": offset}
                    | known,
                }
                producer.send(self.out[offset % 2], orjson.dumps(body))
            producer.send(self.out[0], orjson.dumps(body | {"model": "another"}))
            producer.send(self.out[0], b"not JSON")
            if keep:
                producer.commit_transaction()
            else:
                producer.abort_transaction()
        producer.close()
        self.commit(TEXTS // 2)

    def commit(self, offset: int) -> None:
        """Commit the group's offsets in both partitions."""
        offsets = {
            TopicPartition(self.source, p): OffsetAndMetadata(offset, "", -1) for p in (0, 1)
        }
        set_offsets(self.admin, self.group, offsets)

    def deltas(self, partition: int, first: int, upto: int) -> dict[str, ExitStats]:
        """Return what some of the texts add."""
        sums: dict[str, ExitStats] = {}
        for p, offset, domain, labels in self.texts:
            if p == partition and first <= offset < upto:
                one = ExitStats.from_labels(labels, exits=4)
                sums[domain] = sums[domain] + one if domain in sums else one
        return sums

    def count(self, store: RedisStore, first: int, upto: int) -> None:
        """Count texts of both partitions as a worker does."""
        store.apply(
            [
                PartitionDeltas(self.topic_id, p, first, upto, self.deltas(p, first, upto))
                for p in (0, 1)
            ]
        )


def offramp(redis_url: str, world: World, *args: str, code: int = 0) -> Result:
    """Run `offramp policy`."""
    environ = {
        "OFFRAMP_REDIS__URL": redis_url,
        "OFFRAMP_KAFKA__BOOTSTRAP_SERVERS": world.kafka,
        "OFFRAMP_KAFKA__GROUP": world.group,
    }
    result = CliRunner().invoke(app, ["policy", *args], env=environ)
    assert result.exit_code == code, (result.output, result.exception)
    return result


def rebuild(redis_url: str, world: World, *args: str) -> dict[str, Any]:
    """Run a rebuild from both topics and return what it says of itself."""
    topics = [word for topic in world.out for word in ("--topic", topic)]
    result = offramp(redis_url, world, "rebuild", *topics, "--yes", "-o", "json", *args)
    (row,) = json.loads(result.stdout)["rebuilds"]
    return dict(row)


def held(store: RedisStore) -> dict[str, ExitStats]:
    """Return the counters of all domains."""
    return {name: record.stats for name, record in store.read(store.domains()).items()}
