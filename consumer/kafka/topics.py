"""Topics of a Kafka: which there are, creating them, how far a group is behind."""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from kafka import KafkaAdminClient, TopicPartition
from kafka.admin import OffsetSpec
from kafka.errors import CoordinatorNotAvailableError, KafkaError, TopicAlreadyExistsError

from consumer.errors import StreamUnavailable
from consumer.kafka.calls import translated
from consumer.kafka.client import connect
from consumer.kafka.group.committed import offset_in
from consumer.kafka.targets import is_compacted
from consumer.settings.sections import KafkaSettings
from policy_state.errors import StoreUnavailable
from policy_state.store.positions import ConsumerGroup, StoredPositions

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from policy_state.store.positions import PositionStore

log = logging.getLogger("offramp.topics")

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


@dataclass(frozen=True, slots=True)
class TopicLag:
    """How far a group is behind in a topic."""

    behind: int = 0  # records that it has not committed and can still read
    deleted: int = 0  # records that retention took before the group had read them

    def __add__(self, other: TopicLag) -> TopicLag:
        """Return both together."""
        return TopicLag(self.behind + other.behind, self.deleted + other.deleted)


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


def compacted(kafka: KafkaSettings, topic: str) -> bool:
    """Say whether a topic refuses records without keys, as far as we may know its settings.

    Raises:
        StreamUnavailable: no broker answers.
    """
    with _admin(kafka) as admin:
        return is_compacted(admin, topic)


def group_lag(
    kafka: KafkaSettings, topics: Iterable[str], store: PositionStore
) -> dict[str, TopicLag]:
    """Return how far the group is behind in each topic.

    Where Kafka has no position of the group it is counted from the one that the store has; where
    that has none, from where the group would begin. Markers of transactions count as records.

    Args:
        kafka: names the group.
        topics: their names.
        store: has the positions that Kafka has forgotten; while it is away they are not known.

    Raises:
        StreamUnavailable: the broker does not answer.
    """
    names = list(topics)
    if not names:
        return {}
    with _admin(kafka) as admin:
        sources = partition_sources(admin, names)
        try:
            found = admin.list_group_offsets([kafka.group])[kafka.group]
        except CoordinatorNotAvailableError:  # no group has ever committed anything
            found = {}
        group = ConsumerGroup(str(admin.describe_cluster()["cluster_id"]), kafka.group)
        ends = admin.list_partition_offsets(dict.fromkeys(sources, OffsetSpec.LATEST))
        firsts = admin.list_partition_offsets(dict.fromkeys(sources, OffsetSpec.EARLIEST))
    try:
        stored = store.positions(group)
    except StoreUnavailable as error:
        log.warning("positions that only redis has are not known error=%s", error)
        stored = StoredPositions(began=False)
    ids = {tp: source.rpartition("/")[0] for tp, source in sources.items()}
    told = {tp: offset_in(entry, ids[tp]) for tp, entry in found.items() if tp in ids}
    committed = {tp: offset for tp, offset in told.items() if offset is not None}
    began = stored.began or any(entry.offset >= 0 for entry in found.values())
    at_first = kafka.start == "earliest" or began
    lag = dict.fromkeys(names, TopicLag())
    for tp, source in sources.items():
        first, end = firsts[tp].offset, ends[tp].offset
        at = committed.get(tp, stored.offsets.get(source, first if at_first else end))
        lag[tp.topic] += TopicLag(max(0, end - max(at, first)), max(0, first - at))
    return lag


def partition_sources(admin: KafkaAdminClient, topics: Sequence[str]) -> dict[TopicPartition, str]:
    """Return `<topic id>/<partition>` of each partition of some topics."""
    return {
        TopicPartition(topic["name"], part["partition_index"]): (
            f"{topic['topic_id']}/{part['partition_index']}"
        )
        for topic in (admin.describe_topics(list(topics)) if topics else ())
        for part in topic["partitions"]
    }


@contextmanager
def _admin(kafka: KafkaSettings, *, timeout_s: float = _ANSWER_S) -> Iterator[KafkaAdminClient]:
    """Yield a client; who asks at a prompt does not wait for a broker as long as a worker does."""
    timeout_s = min(timeout_s, kafka.request_timeout_s)
    client = connect(kafka.model_copy(update={"request_timeout_s": timeout_s}))
    with translated(f"kafka at {kafka.bootstrap_servers}"), KafkaAdminClient(**client) as admin:
        yield admin


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
