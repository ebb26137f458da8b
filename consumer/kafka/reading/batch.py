"""A micro-batch as it was read."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kafka.structs import ConsumerGroupMetadata

    from consumer.events.record import Record


@dataclass(frozen=True, slots=True)
class Batch:
    """Records, in order per partition, and the group's generation they were read under."""

    records: tuple[Record, ...]
    membership: ConsumerGroupMetadata
    begins: Mapping[tuple[str, int], int]
    """By topic id and partition: where the batch before ended. From there to its record there are
    no texts."""
    passed: Mapping[tuple[str, int], tuple[str, int]] = field(default_factory=dict)
    """Of a batch without records, by topic and partition: topic id, and up to where there are no
    texts."""
    begun: float = field(default_factory=time.monotonic)
    """When collecting it began, on a clock that only grows."""
    taken: float = field(default_factory=time.monotonic)
    """When it was full, on the same clock."""
    taken_at: float = field(default_factory=time.time)
    """The same in seconds since 1970."""

    @property
    def ends(self) -> Mapping[tuple[str, int], tuple[str | None, int]]:
        """By topic and partition: topic id and the offset that follows."""
        return self.passed or {
            (r.topic, r.partition): (r.topic_id, r.next_offset) for r in self.records
        }
