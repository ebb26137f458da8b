"""Creates topics and waits until they can be used."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from kafka import KafkaAdminClient
from kafka.errors import KafkaError, TopicAlreadyExistsError

from consumer.errors import StreamUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

_READY_S = 30.0


def create_topics(bootstrap_servers: str, partitions: Mapping[str, int]) -> None:
    """Create topics, each with its number of partitions; those that exist stay as they are.

    Returns when every partition has a leader.

    Raises:
        StreamUnavailable: the broker refused, or a topic did not get ready in time.
    """
    admin = KafkaAdminClient(bootstrap_servers=bootstrap_servers.split(","))
    try:
        for name, count in partitions.items():
            try:
                admin.create_topics({name: {"num_partitions": count}})
            except TopicAlreadyExistsError:
                continue
        deadline = time.monotonic() + _READY_S
        while missing := _not_ready(admin, partitions):
            if time.monotonic() > deadline:
                raise StreamUnavailable(f"topics without a leader after {_READY_S} s: {missing}")
            time.sleep(0.05)
    except KafkaError as error:
        raise StreamUnavailable(f"creating topics {', '.join(partitions)}: {error!r}") from error
    finally:
        admin.close()


def _not_ready(admin: KafkaAdminClient, wanted: Mapping[str, int]) -> list[str]:
    ready = {
        topic["name"]
        for topic in admin.describe_topics(list(wanted))
        if not topic["error_code"]
        and topic["partitions"]
        and all(p["leader_id"] >= 0 for p in topic["partitions"])
    }
    return sorted(wanted.keys() - ready)
