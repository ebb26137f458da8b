"""The topics that are read, as brokers know them: whether they are there, and which they are."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from kafka.errors import UnknownTopicOrPartitionError

from consumer.errors import SourceGone, StreamUnavailable
from consumer.kafka.calls import bounded, translated

if TYPE_CHECKING:
    from collections.abc import Collection

    from kafka import KafkaAdminClient


def described_id(admin: KafkaAdminClient, topic: str) -> str:
    """Return the id of a topic.

    Raises:
        SourceGone: it was deleted.
        StreamUnavailable: the broker does not tell.
    """
    return _ids(admin, [topic])[0]


def look(admin: KafkaAdminClient, topics: Collection[str], *, timeout_s: float) -> None:
    """Return, unless one of the topics was deleted: where no broker tells that, it may be there.

    Raises:
        SourceGone: naming the first that was.
    """
    with contextlib.suppress(StreamUnavailable):
        bounded(_ids, admin, sorted(topics), timeout_s=timeout_s)


def _ids(admin: KafkaAdminClient, topics: list[str]) -> list[str]:
    with translated(f"describing {', '.join(topics)}"):
        found = admin.describe_topics(topics)
    for described in found:
        if described["error_code"] == UnknownTopicOrPartitionError.errno:
            raise SourceGone(str(described["name"]))
    return [str(described["topic_id"]) for described in found]
