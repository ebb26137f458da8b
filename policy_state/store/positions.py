"""The port to where consumer groups are: kept here because Kafka forgets it after a while.

After `offsets.retention.minutes` Kafka drops the offsets of a topic that a group reads no longer,
and all those of a group without members. What is kept here never lies ahead of what was committed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class ConsumerGroup:
    """A group of one Kafka: two clusters may have groups of the same name."""

    cluster: str  # its id
    name: str


@dataclass(frozen=True, slots=True)
class StoredPositions:
    """What is known of one group."""

    began: bool  # whether a worker of the group was ever there
    offsets: Mapping[str, int] = field(default_factory=dict)  # by `<topic id>/<partition>`


class PositionStore(Protocol):
    """Positions of consumer groups. Needs no open policy: groups may share one, or change it.

    Safe to use from several threads. Every method may raise `StoreUnavailable`; every call may be
    repeated without harm.
    """

    def group_began(self, group: ConsumerGroup) -> bool:
        """Return whether `begin_group` was ever called for a group."""
        ...

    def begin_group(self, group: ConsumerGroup, offsets: Mapping[str, int]) -> bool:
        """Write where a group begins, all of it or nothing; say whether this call did.

        Of several workers that start at the same time the first one decides for all.
        """
        ...

    def position(self, group: ConsumerGroup, source: str) -> int | None:
        """Return where a group goes on in `<topic id>/<partition>`, None where nobody knows."""
        ...

    def positions(self, group: ConsumerGroup) -> StoredPositions:
        """Return all that is known of a group."""
        ...

    def keep_positions(self, group: ConsumerGroup, offsets: Mapping[str, int]) -> None:
        """Note where a group goes on in some partitions."""
        ...
