"""Which offsets a batch covers: from where the batch before it ended, whatever lies between."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from consumer.events.record import Record


class Covering:
    """Up to where each partition was taken, so that offsets without a text are no gaps.

    Kafka gives no markers of transactions, and nothing that was aborted or compacted away.
    """

    def __init__(self) -> None:
        """Begin with nothing taken."""
        self._ends: dict[tuple[str, int], int] = {}

    def begin(self, topic_id: str, partition: int, offset: int) -> None:
        """Take note that a partition is read on from an offset."""
        self._ends[topic_id, partition] = offset

    def taken(self, records: Iterable[Record]) -> dict[tuple[str, int], int]:
        """Return where what was taken before ended, by topic id and partition."""
        begins: dict[tuple[str, int], int] = {}
        for record in records:
            key = (record.topic_id or "", record.partition)
            begins.setdefault(key, self._ends.get(key, record.offset))
            self._ends[key] = record.next_offset
        return begins
