"""How a group begins: once, in all partitions that there are, before its first worker reads."""

from __future__ import annotations

import logging
import re
import time
from typing import TYPE_CHECKING, Final

from kafka import IsolationLevel
from kafka.admin import OffsetSpec
from kafka.errors import RetriableError

from consumer.kafka.group.positions import Positions
from consumer.kafka.topics import partition_sources
from policy_state.store.positions import ConsumerGroup

if TYPE_CHECKING:
    from kafka import KafkaAdminClient

    from consumer.settings.sections import KafkaSettings
    from policy_state.store.positions import PositionStore

log = logging.getLogger("offramp.stream")

_RETRY_S: Final = 0.2


def begun_group(
    admin: KafkaAdminClient, settings: KafkaSettings, topics: str, store: PositionStore
) -> Positions:
    """Return the positions of a group, which begins now where it has not.

    With `start = "latest"` it begins at the ends of the logs that there are now. What is made later
    is read from its first record, whoever is there to notice.

    Args:
        admin: connected.
        settings: name the group and say how it starts.
        topics: regular expression of the input topics.
        store: where positions are kept.

    Raises:
        KafkaError: the broker does not tell.
        StoreError: the store refuses, or does not answer.
    """
    group = ConsumerGroup(str(admin.describe_cluster()["cluster_id"]), settings.group)
    if not store.group_began(group):
        timeout_s = settings.request_timeout_s
        ends: dict[str, int] = {}
        # A group that has committed anything began before that was noted anywhere else.
        if settings.start == "latest" and not committed_topics(
            admin, group.name, timeout_s=timeout_s
        ):
            ends = _ends(admin, topics)
        if store.begin_group(group, ends):
            log.info("group begins name=%s partitions_at_their_end=%d", group.name, len(ends))
    return Positions(store, group)


def committed_topics(admin: KafkaAdminClient, group: str, *, timeout_s: float) -> set[str]:
    """Return the topics of which a group has committed something.

    Raises:
        KafkaError: the broker does not tell.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            found = admin.list_group_offsets([group])[group]
        except RetriableError:  # a new Kafka makes its topic of offsets when it is first asked
            if time.monotonic() > deadline:
                raise
            time.sleep(_RETRY_S)
        else:
            return {tp.topic for tp, entry in found.items() if entry.offset >= 0}


def _ends(admin: KafkaAdminClient, topics: str) -> dict[str, int]:
    """Return where the log of each partition ends, by `<topic id>/<partition>`."""
    names = [name for name in admin.list_topics() if re.match(topics, name)]
    sources = partition_sources(admin, names)
    if not sources:
        return {}
    found = admin.list_partition_offsets(
        dict.fromkeys(sources, OffsetSpec.LATEST),
        isolation_level=IsolationLevel.READ_COMMITTED,  # what is open becomes readable later
    )
    return {sources[tp]: int(entry.offset) for tp, entry in found.items()}
