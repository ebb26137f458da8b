"""Whole topics, read once: from their beginning to where they ended when reading began."""

from __future__ import annotations

import logging
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final, Self

from kafka import IsolationLevel, KafkaAdminClient, KafkaConsumer, OffsetSpec, TopicPartition

from consumer.errors import StreamUnavailable, TopicMissing
from consumer.kafka.client import connect, translated
from consumer.kafka.reading.fetching import Fetching
from consumer.kafka.topics import log_offsets, topic_ids
from policy_state.suggesting import did_you_mean
from policy_state.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from consumer.events.record import Record
    from consumer.settings.sections import KafkaSettings

log = logging.getLogger("offramp.reading")

_POLL_MS: Final = 500
_SILENCE_S: Final = 60.0


class TopicReader:
    """All committed records of some topics, without a group: nobody else is disturbed."""

    def __init__(
        self,
        settings: KafkaSettings,
        topics: Sequence[str],
        **options: int,
    ) -> None:
        """Connect; nothing is read before `values` or `records`.

        Args:
            settings: addresses and logins.
            topics: those to read.
            options: of kafka-python's consumer, such as how much a fetch returns.

        Raises:
            StreamUnavailable: no broker answers.
            TopicMissing: one of the topics does not exist.
        """
        self._topics = list(topics)
        client = connect(settings)
        with ExitStack() as undo, translated("connecting"):
            self._consumer = KafkaConsumer(
                **client,
                group_id=None,
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                isolation_level="read_committed",
                **options,
            )
            undo.callback(self._consumer.close)
            self._fetching = Fetching(self._consumer)
            self.admin = undo.enter_context(KafkaAdminClient(**client))
            self.ids = topic_ids(self.admin)
            if absent := [topic for topic in self._topics if topic not in self.ids]:
                meant = did_you_mean(absent[0], self.ids) or "; see `offramp topics list`"
                raise TopicMissing(f"topic {absent[0]} does not exist{meant}")
            self._connections = undo.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._connections.close()

    def _partitions(self) -> list[TopicPartition]:
        return [
            TopicPartition(topic, number)
            for topic in self._topics
            for number in sorted(self._consumer.partitions_for_topic(topic) or ())
        ]

    def records(self, *, wait: bool = True) -> Iterator[Record]:
        """Yield the records, in order within each partition.

        Open transactions are waited for; else what follows on them is left out.

        Raises:
            StreamUnavailable: the broker stopped answering.
        """
        upto = IsolationLevel.READ_UNCOMMITTED if wait else IsolationLevel.READ_COMMITTED
        with translated("looking for the ends of " + ", ".join(self._topics)):
            ends = log_offsets(self.admin, self._partitions(), isolation_level=upto)
        yield from (
            record for _, record in self.between({tp: (None, at) for tp, at in ends.items()})
        )

    def ends(self) -> dict[TopicPartition, tuple[int, int]]:
        """Return first and next offset of each partition, open transactions included.

        Raises:
            StreamUnavailable: no broker answers.
        """
        with translated("looking for the ends of " + ", ".join(self._topics)):
            partitions = self._partitions()
            ends = log_offsets(self.admin, partitions)
            firsts = log_offsets(self.admin, partitions, OffsetSpec.EARLIEST)
        return {tp: (firsts[tp], ends[tp]) for tp in partitions}

    def since(self, time_ms: int) -> dict[TopicPartition, tuple[int, int]]:
        """Return from where to where records lie that are as young as this; nothing is read.

        What lies behind an open transaction is left out.

        Raises:
            StreamUnavailable: no broker answers.
        """
        with translated("looking for the latest records of " + ", ".join(self._topics)):
            found = self._readable_since(time_ms)
        return {tp: (first, end) for tp, (first, end) in found.items() if first < end}

    def _readable_since(self, time_ms: int) -> dict[TopicPartition, tuple[int, int]]:
        """Return the first offset as young as this, at most the end, and where reading ends."""
        partitions = self._partitions()
        ends = log_offsets(self.admin, partitions, isolation_level=IsolationLevel.READ_COMMITTED)
        firsts = log_offsets(self.admin, partitions, time_ms)
        return {
            tp: (end if firsts[tp] < 0 else min(firsts[tp], end), end) for tp, end in ends.items()
        }

    def between(
        self, spans: Mapping[TopicPartition, tuple[int | None, int]]
    ) -> Iterator[tuple[TopicPartition, Record]]:
        """Yield the readable records from one offset, or the first, to another, in order.

        Raises:
            StreamUnavailable: the broker stopped answering.
        """
        with translated("reading " + ", ".join(self._topics)):
            partitions = list(spans)
            self._consumer.assign(partitions)
            for tp, (first, _) in spans.items():
                if first is None:
                    self._consumer.seek_to_beginning(tp)
                else:
                    self._consumer.seek(tp, first)
            left = {tp for tp in partitions if self._consumer.position(tp) < spans[tp][1]}
            heard_at = time.monotonic()
            while left:
                for tp, records in self._fetching.poll(timeout_ms=_POLL_MS).items():
                    heard_at = time.monotonic()
                    for record in records:
                        if record.fault is not None:
                            log.warning("skipped %s: %s", record.position, record.fault.message)
                        elif record.offset < spans[tp][1]:
                            yield tp, record
                left = {tp for tp in left if self._consumer.position(tp) < spans[tp][1]}
                if time.monotonic() > heard_at + _SILENCE_S:
                    raise StreamUnavailable(
                        f"{counted(len(left), 'partition')} sent nothing for {_SILENCE_S:g} s"
                    )
