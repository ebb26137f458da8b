"""Topics of a Kafka: which there are, creating them, how far a group is behind."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from kafka import KafkaAdminClient, TopicPartition
from kafka.admin import OffsetSpec
from kafka.errors import CoordinatorNotAvailableError, KafkaError, TopicAlreadyExistsError

from consumer.errors import StreamUnavailable
from consumer.kafka_calls import translated
from consumer.kafka_client import connect
from consumer.settings import KafkaSettings

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

_READY_S: Final = 30.0
_ANSWER_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class NewTopic:
    """A topic to be."""

    name: str
    partitions: int
    replication_factor: int = -1  # what the broker's default is
    configs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Cluster:
    """What there is."""

    brokers: int
    partitions: Mapping[str, int]  # of every topic that is not Kafka's own


def create_topics(bootstrap_servers: str, partitions: Mapping[str, int]) -> None:
    """Create topics, each with its number of partitions; those that exist stay as they are.

    Returns when every partition has a leader.

    Raises:
        StreamUnavailable: the broker refused, or a topic did not get ready in time.
    """
    kafka = KafkaSettings(bootstrap_servers=bootstrap_servers)
    create_new_topics(kafka, [NewTopic(name, count) for name, count in partitions.items()])


def create_new_topics(kafka: KafkaSettings, topics: Iterable[NewTopic]) -> None:
    """Create topics as they are described; those that exist stay as they are.

    Raises:
        StreamUnavailable: the broker refused, or a topic did not get ready in time.
    """
    with _admin(kafka) as admin:
        _create(admin, list(topics))


def describe_cluster(kafka: KafkaSettings, *, timeout_s: float = _ANSWER_S) -> Cluster:
    """Return brokers and topics.

    Args:
        kafka: where.
        timeout_s: longest wait for a first answer.

    Raises:
        StreamUnavailable: no broker answers.
    """
    with _admin(kafka, timeout_s=timeout_s) as admin:
        names = [name for name in admin.list_topics() if not name.startswith("__")]
        described = admin.describe_topics(names) if names else []
        return Cluster(
            brokers=len(admin.describe_cluster()["brokers"]),
            partitions={topic["name"]: len(topic["partitions"]) for topic in described},
        )


def group_lag(kafka: KafkaSettings, topics: Mapping[str, int]) -> dict[str, int]:
    """Return how many records of each topic the group has not committed yet.

    Where it has committed nothing it is counted from where the group would begin. Markers of
    transactions count as records.

    Args:
        kafka: names the group.
        topics: the number of partitions of each.

    Raises:
        StreamUnavailable: the broker does not answer.
    """
    partitions = [TopicPartition(name, p) for name, count in topics.items() for p in range(count)]
    if not partitions:
        return {}
    with _admin(kafka) as admin:
        try:
            committed = admin.list_group_offsets([kafka.group])[kafka.group]
        except CoordinatorNotAvailableError:  # no group has ever committed anything
            committed = {}
        ends = admin.list_partition_offsets(dict.fromkeys(partitions, OffsetSpec.LATEST))
        starts = admin.list_partition_offsets(dict.fromkeys(partitions, OffsetSpec.EARLIEST))
    lag = dict.fromkeys(topics, 0)
    for tp in partitions:
        known = committed[tp].offset if tp in committed else -1
        begin = starts[tp].offset if kafka.start == "earliest" else ends[tp].offset
        lag[tp.topic] += max(0, ends[tp].offset - (known if known >= 0 else begin))
    return lag


@contextmanager
def _admin(kafka: KafkaSettings, *, timeout_s: float = _ANSWER_S) -> Iterator[KafkaAdminClient]:
    """Yield a client; who asks at a prompt does not wait for a broker as long as a worker does."""
    timeout_s = min(timeout_s, kafka.request_timeout_s)
    client = connect(kafka.model_copy(update={"request_timeout_s": timeout_s}))
    with translated(f"kafka at {kafka.bootstrap_servers}"):
        admin = KafkaAdminClient(**client)
        try:
            yield admin
        finally:
            admin.close()


def _create(admin: KafkaAdminClient, topics: Collection[NewTopic]) -> None:
    for topic in topics:
        options = {
            "num_partitions": topic.partitions,
            "replication_factor": topic.replication_factor,
            "configs": dict(topic.configs),
        }
        try:
            admin.create_topics({topic.name: options})
        except TopicAlreadyExistsError:
            continue
        except KafkaError as error:
            raise StreamUnavailable(f"creating topic {topic.name}: {error!r}") from error
    deadline = time.monotonic() + _READY_S
    while missing := _not_ready(admin, {topic.name for topic in topics}):
        if time.monotonic() > deadline:
            raise StreamUnavailable(f"topics without a leader after {_READY_S} s: {missing}")
        time.sleep(0.05)


def _not_ready(admin: KafkaAdminClient, wanted: set[str]) -> list[str]:
    ready = {
        topic["name"]
        for topic in admin.describe_topics(list(wanted))
        if not topic["error_code"]
        and topic["partitions"]
        and all(p["leader_id"] >= 0 for p in topic["partitions"])
    }
    return sorted(wanted - ready)
