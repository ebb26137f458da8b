"""Changes at a broker whose refusals kafka-python returns among its answers: here they raise."""

import time
from collections.abc import Mapping
from contextlib import suppress

from kafka import KafkaAdminClient, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import (
    CoordinatorLoadInProgressError,
    CoordinatorNotAvailableError,
    NoError,
    NotCoordinatorError,
)
from kafka.structs import OffsetAndMetadata

from tests.support.topics import create_topics

ANSWERING = {
    "alter_configs",
    "alter_group_offsets",
    "alter_user_scram_credentials",
    "create_acls",
    "delete_acls",
    "delete_group_offsets",
    "delete_groups",
    "reset_group_offsets",
}
"""The methods that return what was refused: whoever calls one looks at its answer."""

_STARTING = (CoordinatorLoadInProgressError, CoordinatorNotAvailableError, NotCoordinatorError)


def set_offsets(
    admin: KafkaAdminClient,
    group: str,
    offsets: Mapping[TopicPartition, OffsetAndMetadata],
    *,
    timeout_s: float = 30.0,
) -> None:
    """Set what a group has committed; a coordinator that is only starting is waited for."""
    deadline = time.monotonic() + timeout_s
    while True:
        refused: list[type[Exception]] = [CoordinatorNotAvailableError]
        with suppress(CoordinatorNotAvailableError):
            answers = admin.alter_group_offsets(group, offsets)
            refused = [answer for answer in answers.values() if answer is not NoError]
        if not refused:
            return
        if refused[0] not in _STARTING or time.monotonic() > deadline:
            raise refused[0](f"the offsets of group {group} are refused: {refused}")
        time.sleep(0.1)


def configure(admin: KafkaAdminClient, topic: str, **configs: str) -> None:
    """Change settings of a topic; their names have `_` for `.`."""
    values = {name.replace("_", "."): value for name, value in configs.items()}
    answers = admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, values)])
    assert answers == {"topic": {topic: "OK"}}, answers


def set_limit(kafka, topic, size_bytes):
    """Let a topic take records up to a size only."""
    with KafkaAdminClient(bootstrap_servers=kafka) as admin:
        admin.delete_topics([topic])
        deadline = time.monotonic() + 20
        while topic in admin.list_topics() and time.monotonic() < deadline:
            time.sleep(0.1)
        limit = {"max.message.bytes": str(size_bytes)}
        admin.create_topics({topic: {"num_partitions": 1, "configs": limit}})
    create_topics(kafka, {topic: 1})  # waits until it has a leader


def make_anew(admin, topic, *, partitions=1, copies=1):
    """Delete a topic and create it; return the ids before and after."""
    before = str(admin.describe_topics([topic])[0]["topic_id"])
    begun = time.monotonic()
    admin.delete_topics([topic])
    while True:
        try:
            admin.create_topics(
                {topic: {"num_partitions": partitions, "replication_factor": copies}}
            )
            break
        except Exception:  # noqa: BLE001  (it is not yet gone)
            assert time.monotonic() < begun + 5
    while (after := str(admin.describe_topics([topic])[0]["topic_id"])) in {before, "None"}:
        assert time.monotonic() < begun + 5
    return before, after
