"""Which topic, by its id, each partition is read of: told by who places, heeded by who fetches."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from kafka import TopicPartition


class ReadTopics:
    """The ids that partitions are read by; all partitions of a topic's name have the same.

    One thread changes it. Others may look, so what they are given is replaced and never changed.
    """

    def __init__(self) -> None:
        """Begin with nothing that is read."""
        self._ids: Mapping[TopicPartition, str] = {}
        self._fetched = self._ids
        self.doubted: frozenset[TopicPartition] = frozenset()
        """Partitions whose topic a broker does not know; they are not fetched meanwhile."""

    def __contains__(self, partition: TopicPartition) -> bool:
        """Whether a partition is read."""
        return partition in self._ids

    def __getitem__(self, partition: TopicPartition) -> str:
        """Return the id that a partition is read by."""
        return self._ids[partition]

    @property
    def all(self) -> Mapping[TopicPartition, str]:
        """All that is read, with what is in doubt."""
        return MappingProxyType(self._ids)

    @property
    def fetched(self) -> Mapping[TopicPartition, str]:
        """What may be asked for now."""
        return self._fetched

    def id_of(self, topic: str) -> str | None:
        """Return the id that the partitions of a topic are read by, if any is."""
        return next((found for tp, found in self._ids.items() if tp.topic == topic), None)

    def read(self, partition: TopicPartition, topic_id: str) -> list[TopicPartition]:
        """Have a partition read; return those of its topic that were read by another id."""
        old = [
            tp
            for tp, found in self._ids.items()
            if tp.topic == partition.topic and found != topic_id
        ]
        kept = {tp: found for tp, found in self._ids.items() if tp not in old}
        self._change({**kept, partition: topic_id}, self.doubted - {partition})
        return old

    def drop(self, partitions: Iterable[TopicPartition]) -> None:
        """Read some partitions no longer."""
        gone = set(partitions)
        kept = {tp: found for tp, found in self._ids.items() if tp not in gone}
        self._change(kept, self.doubted)

    def doubt(self, partition: TopicPartition) -> None:
        """Note that a broker does not know the topic that a partition is read of."""
        self._change(self._ids, self.doubted | {partition})

    def trust(self, partition: TopicPartition) -> None:
        """Note that the topic of a partition is what it was."""
        self._change(self._ids, self.doubted - {partition})

    def _change(
        self, ids: Mapping[TopicPartition, str], doubted: frozenset[TopicPartition]
    ) -> None:
        self._ids = ids
        self.doubted = doubted & ids.keys()
        self._fetched = {tp: found for tp, found in ids.items() if tp not in self.doubted}
