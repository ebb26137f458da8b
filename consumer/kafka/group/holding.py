"""Which partitions a member of a group has not held all the time."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from kafka import ConsumerRebalanceListener
from kafka.structs import MemberState

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kafka import KafkaConsumer, TopicPartition
    from kafka.structs import ConsumerGroupMetadata


class LostPartitions(ConsumerRebalanceListener):
    """Tells which partitions may have been another member's since they were last asked for.

    As a listener it runs on the client's own thread, so it only takes note.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._revoked: set[TopicPartition] = set()
        self._last: ConsumerGroupMetadata | None = None  # the last membership of a stable group

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Note that they are gone, or soon will be."""
        with self._lock:
            self._revoked |= set(revoked)

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Nothing: the client starts from the committed offsets."""

    def take_lost(self, consumer: KafkaConsumer) -> set[TopicPartition]:
        """Return the partitions lost since the last call, also those that came back."""
        with self._lock:
            lost, self._revoked = self._revoked, set()
        now = consumer.group_metadata()
        if now.state == MemberState.STABLE:
            # kafka-python tells of nothing where the group lets a member go that is joining: others
            # may have had its partitions before it got them again.
            if self._last is None and consumer._coordinator._assignment_snapshot is None:  # noqa: SLF001
                # A worker that is back within its session gets the partitions that it had, and
                # nobody those made meanwhile. Where it leads the group, asking anew assigns them.
                consumer._coordinator.request_rejoin()  # noqa: SLF001
            if self._last is not None and not _follows(now, self._last):
                lost |= consumer.assignment()
            self._last = now
        return lost


def _follows(now: ConsumerGroupMetadata, before: ConsumerGroupMetadata) -> bool:
    """Return whether the group had no generation in between without this member."""
    generations = now.generation_id - before.generation_id
    return now.member_id == before.member_id and generations in (0, 1)
