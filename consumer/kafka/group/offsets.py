"""Offsets that a group has committed: of which topic each is, and how far the group has come."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from kafka import KafkaAdminClient, OffsetAndMetadata, OffsetSpec
from kafka.errors import CoordinatorNotAvailableError

from consumer.kafka.topics import connected, insisted, log_offsets, partition_sources, topic_ids
from policy_state.errors import StoreUnavailable
from policy_state.store.groups import ConsumerGroup, StoredPositions

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from kafka import TopicPartition

    from consumer.settings.sections import KafkaSettings

log = logging.getLogger("offramp.topics")

_NO_EPOCH: Final = -1
_MARK: Final = re.compile(r"topic-id=([0-9a-f-]{36})")


@dataclass(frozen=True, slots=True)
class TopicLag:
    """How far a group is behind in a topic."""

    behind: int = 0  # records that it has not committed and can still read
    deleted: int = 0  # records that retention took before the group had read them

    def __add__(self, other: TopicLag) -> TopicLag:
        """Return both together."""
        return TopicLag(self.behind + other.behind, self.deleted + other.deleted)


@dataclass(frozen=True, slots=True)
class KafkaState:
    """What Kafka has of all partitions, by watermark name."""

    ends: Mapping[str, int]  # the next offset of each log
    committed: Mapping[str, int] | None  # by the group; None: it could not be told


def to_commit(offset: int, topic_id: str | None) -> OffsetAndMetadata:
    """Return what to commit: Kafka keeps offsets by name, so the id goes with it."""
    return OffsetAndMetadata(offset, f"topic-id={topic_id}" if topic_id else "", _NO_EPOCH)


def is_of_another(committed: OffsetAndMetadata | None, topic_id: str) -> bool:
    """Say whether an offset was committed for a topic of another id than this.

    One that tells no id, set with Kafka's tools perhaps, is of the topic that there is.
    """
    told = committed and _MARK.fullmatch(committed.metadata or "")
    return bool(told and told[1] != topic_id)


def offset_in(committed: OffsetAndMetadata | None, topic_id: str) -> int | None:
    """Return where a group continues in a topic; None where nothing is committed for it.

    >>> offset_in(to_commit(7, "0" * 36), "0" * 36), offset_in(to_commit(7, "0" * 36), "1" * 36)
    (7, None)
    """
    if committed is None or committed.offset < 0 or is_of_another(committed, topic_id):
        return None
    return int(committed.offset)


def known_group(admin: KafkaAdminClient, name: str) -> ConsumerGroup:
    """Return a group as stores know it: by its cluster, too."""
    return ConsumerGroup(str(admin.describe_cluster()["cluster_id"]), name)


def committed_topics(admin: KafkaAdminClient, group: str, *, timeout_s: float) -> set[str]:
    """Return the topics of which a group has committed something.

    Raises:
        KafkaError: the broker does not tell.
    """
    found = insisted(lambda: admin.list_group_offsets([group])[group], timeout_s=timeout_s)
    return {tp.topic for tp, entry in found.items() if entry.offset >= 0}


def group_offsets(
    admin: KafkaAdminClient, group: str, ids: Mapping[str, str]
) -> dict[tuple[str, int], int] | None:
    """Return what a group has committed, by topic id and partition; None: it cannot be told yet."""
    if (found := _committed(admin, group)) is None:
        return None
    return {
        (ids[tp.topic], tp.partition): offset
        for tp, entry in found.items()
        if tp.topic in ids and (offset := offset_in(entry, ids[tp.topic])) is not None
    }


def kafka_state(settings: KafkaSettings) -> KafkaState:
    """Return where the logs end, and what the group has committed of them.

    Raises:
        StreamUnavailable: no broker answers.
    """
    with connected(settings, "reading the logs' ends") as admin:
        ids = topic_ids(admin)
        committed = group_offsets(admin, settings.group, ids)
        sources = partition_sources(admin, ids)
        ends = log_offsets(admin, sources)
    return KafkaState(
        {source: ends[tp] for tp, source in sources.items()},
        None
        if committed is None
        else {f"{t}/{number}": at for (t, number), at in committed.items()},
    )


def partition_lag(
    admin: KafkaAdminClient,
    kafka: KafkaSettings,
    topics: Collection[str],
    positions: Callable[[ConsumerGroup], StoredPositions],
) -> dict[TopicPartition, TopicLag]:
    """Return how far the group is behind in each partition of some topics.

    Where Kafka has no position of the group it is counted from the one in `positions`; where there
    is none, or `positions` raises `StoreUnavailable`, from where the group would begin. Markers of
    transactions count as records.

    Raises:
        KafkaError: the broker does not answer.
    """
    sources = partition_sources(admin, topics)
    found = _committed(admin, kafka.group) or {}
    group = known_group(admin, kafka.group)
    ends = log_offsets(admin, sources)
    firsts = log_offsets(admin, sources, OffsetSpec.EARLIEST)
    try:
        stored = positions(group)
    except StoreUnavailable as error:
        log.warning("cannot read the positions in redis error=%s", error)
        stored = StoredPositions(began=False)
    began = stored.began or any(entry.offset >= 0 for entry in found.values())
    at_first = kafka.start == "earliest" or began
    lag = {}
    for tp, source in sources.items():
        first, end = firsts[tp], ends[tp]
        at = offset_in(found.get(tp), source.rpartition("/")[0])
        if at is None:
            at = stored.offsets.get(source, first if at_first else end)
        lag[tp] = TopicLag(max(0, end - max(at, first)), max(0, first - at))
    return lag


def _committed(
    admin: KafkaAdminClient, group: str
) -> Mapping[TopicPartition, OffsetAndMetadata] | None:
    """Return what a group has committed; None while the coordinator of groups starts, or moves."""
    try:
        found: Mapping[TopicPartition, OffsetAndMetadata] = admin.list_group_offsets([group])[group]
    except CoordinatorNotAvailableError:
        return None
    return found
