"""Topics of a Kafka: which there are, where their logs begin and end, and creating them."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from kafka import KafkaAdminClient, OffsetSpec, TopicPartition
from kafka.errors import (
    KafkaError,
    RetriableError,
    TopicAlreadyExistsError,
    UnknownTopicOrPartitionError,
)

from consumer.errors import SourceGone, StreamUnavailable
from consumer.kafka.client import bounded, connect, translated
from consumer.settings.sections import KafkaSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

_READY_S: Final = 30.0
_RETRY_S: Final = 0.2
ANSWER_S: Final = 10.0  # who asks at a prompt does not wait as long as a worker does


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


@contextlib.contextmanager
def connected(
    kafka: KafkaSettings, doing: str | None = None, *, timeout_s: float | None = None
) -> Iterator[KafkaAdminClient]:
    """Yield a client that asks and creates; errors become ours, and `doing` begins their messages.

    A first answer is waited for as long as people would, or for `timeout_s`.

    Raises:
        StreamUnavailable: no broker answers, or it refuses.
    """
    timeout_s = min(timeout_s or ANSWER_S, kafka.request_timeout_s)
    client = connect(kafka.model_copy(update={"request_timeout_s": timeout_s}))
    doing = doing or f"kafka at {kafka.bootstrap_servers}"
    with translated(doing), KafkaAdminClient(**client) as admin:
        yield admin


def insisted(ask: Callable[[], Any], *, timeout_s: float) -> Any:  # noqa: ANN401
    """Return an answer about a group: a new Kafka first makes what it keeps groups in.

    Raises:
        KafkaError: the answer is an error, or there was none in time.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            return ask()
        except RetriableError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_RETRY_S)


def create_new_topics(kafka: KafkaSettings, topics: Iterable[NewTopic]) -> None:
    """Create topics as they are described; those that exist stay as they are.

    Raises:
        StreamUnavailable: the broker refused, or a topic did not get ready in time.
    """
    with connected(kafka) as admin:
        for topic in (topics := list(topics)):
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


def describe_cluster(kafka: KafkaSettings, *, timeout_s: float | None = None) -> Cluster:
    """Return brokers and topics, within `timeout_s`, as `connected` takes it.

    Raises:
        StreamUnavailable: no broker answers.
    """
    with connected(kafka, timeout_s=timeout_s) as admin:
        brokers = len(admin.describe_cluster()["brokers"])
        return Cluster(brokers=brokers, partitions=existing_topics(admin))


def existing_topics(admin: KafkaAdminClient) -> dict[str, int]:
    """Return how many partitions every topic has that is not Kafka's own."""
    return {d["name"]: len(d["partitions"]) for d in _described(admin, _own_names(admin))}


def topic_ids(admin: KafkaAdminClient) -> dict[str, str]:
    """Return the id of every topic that is not Kafka's own."""
    return {d["name"]: str(d["topic_id"]) for d in _described(admin, _own_names(admin))}


def partition_sources(
    admin: KafkaAdminClient, topics: Collection[str]
) -> dict[TopicPartition, str]:
    """Return `<topic id>/<partition>` of each partition of some topics."""
    return {
        TopicPartition(topic["name"], part["partition_index"]): (
            f"{topic['topic_id']}/{part['partition_index']}"
        )
        for topic in _described(admin, topics)
        for part in topic["partitions"]
    }


def log_offsets(
    admin: KafkaAdminClient,
    partitions: Iterable[TopicPartition],
    which: OffsetSpec | int = OffsetSpec.LATEST,
    **options: Any,  # noqa: ANN401  (kafka-python is untyped)
) -> dict[TopicPartition, int]:
    """Return an offset of each log; by default the next one, behind transactions still open.

    For a time in ms it is that of the first record as young as this, -1 where there is none.
    """
    if not (wanted := dict.fromkeys(partitions, which)):
        return {}
    found = admin.list_partition_offsets(wanted, **options)
    return {tp: int(entry.offset) for tp, entry in found.items()}


def described_ids(admin: KafkaAdminClient, topics: Collection[str]) -> dict[str, str]:
    """Return the id of each of some topics, as a broker tells it now.

    Raises:
        SourceGone: naming the first that was deleted.
        StreamUnavailable: the broker does not tell.
    """
    with translated(f"describing {', '.join(topics)}"):
        found = _described(admin, topics)
    for described in found:
        if described["error_code"] == UnknownTopicOrPartitionError.errno:
            raise SourceGone(str(described["name"]))
    return {str(d["name"]): str(d["topic_id"]) for d in found}


def look(admin: KafkaAdminClient, topics: Collection[str], *, timeout_s: float) -> None:
    """Return, unless one of the topics was deleted: where no broker tells that, it may be there.

    Raises:
        SourceGone: naming the first that was.
    """
    with contextlib.suppress(StreamUnavailable):
        bounded(described_ids, admin, sorted(topics), timeout_s=timeout_s)


def _own_names(admin: KafkaAdminClient) -> list[str]:
    return [name for name in admin.list_topics() if not name.startswith("__")]


def _described(admin: KafkaAdminClient, topics: Collection[str]) -> Any:  # noqa: ANN401
    return admin.describe_topics(list(topics)) if topics else []  # of none it describes all


def _not_ready(admin: KafkaAdminClient, wanted: set[str]) -> list[str]:
    ready = {
        topic["name"]
        for topic in admin.describe_topics(list(wanted))
        if not topic["error_code"]
        and topic["partitions"]
        and all(p["leader_id"] >= 0 for p in topic["partitions"])
    }
    return sorted(wanted - ready)
