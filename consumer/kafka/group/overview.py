"""What Kafka knows of a group: who reads which partitions, and how many records wait in each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from kafka.errors import CoordinatorNotAvailableError

from consumer.kafka.group.offsets import committed_topics, partition_lag
from consumer.kafka.topics import connected, existing_topics

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from kafka import KafkaAdminClient

    from consumer.kafka.group.offsets import TopicLag
    from consumer.settings.sections import KafkaSettings
    from policy_state.store.groups import ConsumerGroup, StoredPositions

Partition = tuple[str, int]

_STEADY: Final = frozenset({"Stable", "Empty", "Dead"})


@dataclass(frozen=True, slots=True)
class GroupOverview:
    """A group and the topics of its Kafka, as of one moment."""

    brokers: int
    partitions: Mapping[str, int]  # of every topic that is not Kafka's own
    lag: Mapping[Partition, TopicLag]  # of the topics that were asked for
    readers: Mapping[Partition, str]  # the worker that has the partition, or another client
    members: tuple[str, ...]  # the same names, each once
    steady: bool  # False while members join: then nobody has a partition

    def topic_lag(self, topic: str) -> TopicLag | None:
        """Return how far the group is behind in a topic, None if it was not asked for."""
        found = [lag for (name, _), lag in self.lag.items() if name == topic]
        return sum(found[1:], found[0]) if found else None


def group_overview(
    kafka: KafkaSettings,
    read: Callable[[str], bool] | None,
    positions: Callable[[ConsumerGroup], StoredPositions],
    *,
    timeout_s: float | None = None,
) -> GroupOverview:
    """Return what Kafka knows of a group.

    Args:
        kafka: where Kafka is, and the group.
        read: whether the group reads a topic; None: it reads those in which it has committed.
        positions: as for `partition_lag`.
        timeout_s: how long a first answer is waited for.

    Raises:
        StreamUnavailable: no broker answers.
    """
    with connected(kafka, timeout_s=timeout_s) as admin:
        partitions = existing_topics(admin)
        if read is None:
            wait_s = timeout_s or kafka.request_timeout_s
            read = committed_topics(admin, kafka.group, timeout_s=wait_s).__contains__
        lag = partition_lag(admin, kafka, [*filter(read, sorted(partitions))], positions)
        brokers = len(admin.describe_cluster()["brokers"])
        found = _described(admin, kafka.group)
    readers: dict[Partition, str] = {}
    members = []
    for member in found["members"]:
        name = _name(member, kafka.group)
        members.append(name)
        for topic, number in _assigned(member["member_assignment"]):
            readers[topic, number] = name
    return GroupOverview(
        brokers=brokers,
        partitions=partitions,
        lag={(tp.topic, tp.partition): behind for tp, behind in lag.items()},
        readers=readers,
        members=tuple(sorted(members)),
        steady=found["group_state"] in _STEADY,
    )


def _described(admin: KafkaAdminClient, group: str) -> Any:  # noqa: ANN401  (kafka-python's)
    """Return a group; one without members while its coordinator starts, or moves."""
    try:
        return admin.describe_groups([group])[group]
    except CoordinatorNotAvailableError:
        return {"members": (), "group_state": "unknown"}


def _name(member: Mapping[str, str | None], group: str) -> str:
    """Return the name of a worker, or of a client that is none."""
    static, prefix = member["group_instance_id"] or "", f"{group}-"
    return static.removeprefix(prefix) if static.startswith(prefix) else str(member["client_id"])


def _assigned(assignment: object) -> Sequence[Partition]:
    """Return the partitions of a member; none while it joins, or if it is no consumer."""
    if not isinstance(assignment, dict):
        return ()
    return [
        (str(entry["topic"]), int(number))
        for entry in assignment.get("assigned_partitions") or ()
        for number in entry["partitions"]
    ]
