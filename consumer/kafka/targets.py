"""Topics that are written to: whether they are there and take records, and what fixes it if not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from kafka import errors as kafka_errors
from kafka.admin import ConfigResource, ConfigResourceType

from consumer.errors import TopicRefused

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kafka import KafkaAdminClient

_UNKNOWN_TOPIC: Final = 3  # error codes of the protocol
_NOT_AUTHORIZED: Final = 29


def missing(topic: str) -> TopicRefused:
    """Return what is wrong with a topic that is not there."""
    return TopicRefused(topic, "does not exist", "create it with `offramp topics init`")


def unseen(topic: str) -> TopicRefused:
    """Return what is wrong with a topic that the broker tells nothing of."""
    return TopicRefused(topic, "may not be seen", allow(topic, "Describe", "Write"))


def unwritable(topic: str) -> TopicRefused:
    """Return what is wrong with a topic that we may see and not write to."""
    return TopicRefused(topic, "may not be written to", allow(topic, "Write"))


def keyless(topic: str) -> TopicRefused:
    """Return what is wrong with a compacted topic where a record has no key."""
    change = f"--alter --entity-type topics --entity-name {topic} --add-config"
    return TopicRefused(
        topic,
        "is compacted and refuses records without keys",
        f"give the texts keys, or `kafka-configs.sh {change} cleanup.policy=delete`",
        only_keyless=True,
    )


def refusal(topic: str, error: BaseException) -> TopicRefused | None:
    """Return what is wrong with a topic by how writing to it failed; None: it is not the topic."""
    if isinstance(error, kafka_errors.TopicAuthorizationFailedError):
        return unwritable(topic)
    if isinstance(error, kafka_errors.UnknownTopicOrPartitionError):
        return missing(topic)
    if isinstance(error, kafka_errors.InvalidRecordError):
        if "without key" in str(error):
            return keyless(topic)
        return TopicRefused(topic, f"refuses a record: {error}", "check the settings of the topic")
    if isinstance(error, kafka_errors.PolicyViolationError | kafka_errors.InvalidTopicError):
        return TopicRefused(
            topic, f"refuses records: {error!r}", "check the policies of the brokers"
        )
    return None


def described_refusal(described: Mapping[str, Any]) -> TopicRefused | None:
    """Return what is wrong with a topic by what an admin's `describe_topics` tells of it."""
    topic = str(described["name"])
    if described["error_code"] == _UNKNOWN_TOPIC:
        return missing(topic)
    if described["error_code"] == _NOT_AUTHORIZED:
        return unseen(topic)
    rights = described["authorized_operations"]
    if rights is not None and "WRITE" not in rights:
        return unwritable(topic)
    without = [str(p["partition_index"]) for p in described["partitions"] if p["leader_id"] < 0]
    if without:
        cause = f"has no leader for partition {', '.join(without[:5])}"
        return TopicRefused(topic, cause, "check the brokers that have its replicas")
    return None


def is_compacted(admin: KafkaAdminClient, topic: str) -> bool:
    """Say whether a topic refuses records without keys, as far as we may know its settings."""
    resource = ConfigResource(ConfigResourceType.TOPIC, topic)
    told = admin.describe_configs([resource], config_filter="all")["topic"][topic]
    return "compact" in str(told.get("cleanup.policy"))  # none: we may not see it


def allow(topic: str, *operations: str) -> str:
    """Return the command that gives a right."""
    wanted = " ".join(f"--operation {operation}" for operation in operations)
    return f"`kafka-acls.sh --add --allow-principal User:NAME {wanted} --topic {topic}`"
