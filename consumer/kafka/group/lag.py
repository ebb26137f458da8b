"""How a member stands in its group, and how many records it has still to commit."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from kafka import IsolationLevel, TopicPartition
from kafka.errors import KafkaError
from kafka.structs import MemberState

from consumer.kafka import private
from consumer.kafka.topics import log_offsets
from consumer.process.rounds import Rounds

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kafka import KafkaAdminClient

    from consumer.kafka.group.member import Member
    from consumer.kafka.group.positions import Positions
    from consumer.kafka.reading.buffer import Buffer

log = logging.getLogger("offramp.stream")

Partition = tuple[str, int]  # topic, number

_EVERY_S: Final = 5.0
_FIRST_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Standing:
    """How a member stands in its group."""

    generation: int | None  # of the group; None while the member joins
    silent_s: float  # for how long no broker has answered


def standing(member: Member) -> Standing:
    """Return how a member stands in its group."""
    now = member.consumer.group_metadata()
    generation = now.generation_id if now.state == MemberState.STABLE else None
    return Standing(generation, member.silent_s)


def _reached(member: Member, positions: Positions, *, idle: bool) -> dict[Partition, int]:
    """Return up to where all is done in each partition.

    If nothing that was read is still open, this includes what lies between the last record and
    where the member reads, such as markers of transactions.
    """
    found = {}
    for tp, topic_id in member.start.topics.ids.items():
        offset = positions.noted(f"{topic_id}/{tp.partition}")
        if idle and (at := private.position(member.consumer, tp)) is not None:
            offset = max(at, offset or 0)
        if offset is not None:
            found[tp.topic, tp.partition] = offset
    return found


class LagWatch(Rounds):
    """Asks every few seconds, in its own thread, where the readable part of each log ends."""

    def __init__(
        self,
        admin: KafkaAdminClient,
        positions: Positions,
        now: Callable[[], tuple[Member, Buffer]],
    ) -> None:
        """Ask nothing yet.

        Args:
            admin: a client that several threads may use.
            positions: up to where the group has committed.
            now: returns the member, and what it has read ahead.
        """
        super().__init__("offramp-lag", first_s=_FIRST_S)
        self._admin = admin
        self._positions = positions
        self._now = now
        self._wanted: list[Partition] = []
        self._ends: Mapping[Partition, int] = {}

    def lag(self, *, idle: bool) -> dict[Partition, int]:
        """Return the lag of each partition of which it is known; `idle`: no batch is open.

        Only the thread that reads the stream may ask.
        """
        member, buffer = self._now()
        at, ends = _reached(member, self._positions, idle=idle and not buffer.events), self._ends
        self._wanted = list(at)
        return {tp: max(0, ends[tp] - at[tp]) for tp in at.keys() & ends.keys()}

    def _round(self) -> float:
        wanted = [TopicPartition(*key) for key in self._wanted]
        try:
            found = log_offsets(self._admin, wanted, isolation_level=IsolationLevel.READ_COMMITTED)
        except KafkaError as error:  # the worker itself notices
            log.debug("ends of logs are not known error=%r", error)
        else:
            self._ends = {(tp.topic, tp.partition): end for tp, end in found.items()}
        return _EVERY_S if wanted else _FIRST_S
