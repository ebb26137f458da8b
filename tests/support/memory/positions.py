"""Positions of consumer groups in this process's memory."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from policy_state.store.groups import StoredPositions
from tests.support.memory.stats import MemoryStats, wall_clock_ms

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from policy_state.store.groups import ConsumerGroup


class MemoryPositions(MemoryStats):
    """Implements `PositionStore`."""

    def __init__(self, *, clock_ms: Callable[[], int] = wall_clock_ms) -> None:
        """Start without groups."""
        super().__init__(clock_ms=clock_ms)
        self._began: set[ConsumerGroup] = set()
        self._positions: defaultdict[ConsumerGroup, dict[str, int]] = defaultdict(dict)

    def group_began(self, group: ConsumerGroup) -> bool:
        """Return whether `begin_group` was ever called for a group."""
        with self.lock:
            return group in self._began

    def begin_group(self, group: ConsumerGroup, offsets: Mapping[str, int]) -> bool:
        """Write where a group begins; say whether this call did."""
        with self.lock:
            if group in self._began:
                return False
            self._began.add(group)
            self._positions[group].update(offsets)
            return True

    def position(self, group: ConsumerGroup, source: str) -> int | None:
        """Return the offset at which a group continues in a partition, if it is known."""
        with self.lock:
            return self._positions[group].get(source)

    def positions(self, group: ConsumerGroup) -> StoredPositions:
        """Return all that is known of a group."""
        with self.lock:
            return StoredPositions(group in self._began, dict(self._positions[group]))

    def keep_positions(self, group: ConsumerGroup, offsets: Mapping[str, int]) -> None:
        """Note where a group continues in some partitions."""
        with self.lock:
            self._positions[group].update(offsets)
