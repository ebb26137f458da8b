"""From where each partition is read: where the group is, asked for when it is needed."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from kafka import errors as kafka_errors
from kafka.structs import OffsetAndMetadata

from consumer.errors import StreamUnavailable
from policy_state.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from kafka import KafkaConsumer, TopicPartition

    from consumer.positions import Positions
    from consumer.records import Record

log = logging.getLogger("offramp.stream")

NO_EPOCH = -1
_CALL_MS = 200  # an answer that takes longer is found at the next try
_PAUSE_S = 1.0
_LONGEST_S = 120.0  # a transaction that was left open is ended after a minute


class Placing:
    """Places partitions that were assigned or given back.

    They are read from the offset that Kafka has; where it has none, from that which Redis has;
    where nobody has one, from the first record. The consumer must have no policy for resetting
    offsets: that would skip records, or read them again, without a word.

    kafka-python goes to committed offsets itself, but with an answer that may be old: it keeps one
    that came too late for who asked, and gives it to the next.
    """

    def __init__(
        self,
        consumer: KafkaConsumer,
        positions: Positions,
        topic_id: Callable[[str], str],
        *,
        timeout_s: float,
    ) -> None:
        """Begin with nothing placed."""
        self._consumer = consumer
        self._positions = positions
        self._topic_id = topic_id
        self._timeout_ms = int(timeout_s * 1000)
        self._waiting: dict[TopicPartition, float] = {}  # since when
        self._untold: dict[TopicPartition, None] = {}  # of these, asked for without an answer
        self._placed: set[TopicPartition] = set()
        self._astray: dict[TopicPartition, int] = {}
        self._next_try = 0.0

    def __contains__(self, partition: TopicPartition) -> bool:
        """Whether a partition is placed, so that what is read of it may be used."""
        return partition in self._placed

    def forget(self, partitions: Iterable[TopicPartition]) -> None:
        """Have partitions placed anew, if they are still, or again, assigned."""
        for tp in partitions:
            self._placed.discard(tp)
            self._untold.pop(tp, None)
            self._waiting.setdefault(tp, time.monotonic())

    def refused_or(
        self, otherwise: Callable[[TopicPartition, Exception], None]
    ) -> Callable[[TopicPartition, Exception], None]:
        """Return what takes errors of a partition: those of its place here, the others there."""

        def refused(partition: TopicPartition, error: Exception) -> None:
            if isinstance(error, kafka_errors.OffsetOutOfRangeError):
                self._astray.update(error.args[0])
            else:
                otherwise(partition, error)

        return refused

    def led_on(
        self, poll: Callable[[int], dict[TopicPartition, list[Record]]], timeout_ms: int
    ) -> dict[TopicPartition, list[Record]]:
        """Return what a poll does; nothing where it is about partitions without a place.

        Raises:
            KafkaError: any other failure.
        """
        try:
            return poll(timeout_ms)
        except kafka_errors.NoOffsetForPartitionError as error:  # just assigned, as a rule
            self.forget(error.args[0])
        except kafka_errors.LogTruncationError as error:
            for tp, there in error.divergent_offsets.items():
                log.warning("log was cut partition=%s[%d] at=%s", *tp, there)
                if there is not None:
                    self._consumer.seek(tp, there)
        return {}

    def place(self) -> None:
        """Go to where the group is in what waits for it.

        Kafka does not tell while a transaction on it is open, of a worker that died perhaps: then
        the other partitions go on, and it is tried again. So it is where Redis is asked, and away.

        Raises:
            StreamUnavailable: there was no answer of Kafka for too long.
            KafkaError: another failure; what waits goes on waiting.
        """
        assigned = self._consumer.assignment()
        self._placed &= assigned
        # What is not placed goes to its place first, and is found out there if it is astray.
        if astray := {tp: at for tp, at in self._astray.items() if tp in self._placed}:
            self._lead_on(astray)
        self._astray = {}
        for tp in assigned - self._placed:
            self._waiting.setdefault(tp, time.monotonic())
        for tp in [tp for tp in self._waiting if tp not in self._untold]:
            if not self._place(tp):
                return  # the others have their turn at the next call: this one took its time
        if time.monotonic() < self._next_try:
            return
        while self._untold and self._place(next(iter(self._untold))):
            pass

    def _place(self, tp: TopicPartition) -> bool:
        """Place one partition; say whether that is done."""
        if tp not in self._consumer.assignment():
            log.info("gone partition=%s[%d]", tp.topic, tp.partition)
            self._settled(tp)
            return True
        if tp not in self._untold:  # what was asked before is an old answer
            self._consumer._coordinator._offset_fetch_futures.pop(frozenset((tp,)), None)  # noqa: SLF001
        try:
            self._seek(tp)
        except BaseException as error:
            self._untold.pop(tp, None)
            self._untold[tp] = None  # behind the others, so that all get a turn
            self._next_try = time.monotonic() + _PAUSE_S
            if isinstance(error, StoreUnavailable):
                self._waiting[tp] = time.monotonic()  # Redis may be away for as long as it likes
                log.warning("waiting for redis partition=%s[%d] error=%s", *tp, error)
                return False
            if not isinstance(error, kafka_errors.KafkaTimeoutError):
                raise
            if time.monotonic() > self._waiting[tp] + _LONGEST_S:
                msg = f"no committed offset of {tp.topic}[{tp.partition}] in {_LONGEST_S:g} s"
                raise StreamUnavailable(msg) from error
            return False
        self._settled(tp)
        self._placed.add(tp)
        return True

    def _settled(self, tp: TopicPartition) -> None:
        del self._waiting[tp]
        self._untold.pop(tp, None)

    def _seek(self, tp: TopicPartition) -> None:
        offset = self._consumer.committed(tp, timeout_ms=_CALL_MS)
        source = f"{self._topic_id(tp.topic)}/{tp.partition}"
        if offset is not None:
            log.info("reading partition=%s[%d] offset=%d", *tp, offset)
            self._consumer.seek(tp, offset)
            self._positions.note(source, offset)
            return
        # Where one partition has no position a poll gives nothing of the others. This one stands
        # still meanwhile, as nothing is read of what is not placed.
        self._consumer.seek(tp, 0)
        offset = self._positions.kept(source)
        if offset is None:
            log.info("reading partition=%s[%d] from its first record: nothing was read before", *tp)
            self._consumer.seek_to_beginning(tp)
            return
        log.info("reading partition=%s[%d] offset=%d, which redis has and kafka not", *tp, offset)
        self._consumer.seek(tp, offset)
        here = OffsetAndMetadata(offset, "", NO_EPOCH)
        try:  # so that others can see it, and it is known without Redis
            self._consumer.commit({tp: here}, timeout_ms=self._timeout_ms)
        except kafka_errors.KafkaError as error:
            log.info("not committed partition=%s[%d] error=%r", *tp, error)

    def _lead_on(self, astray: Mapping[TopicPartition, int]) -> None:
        """Go to the first record of what is read outside of its log; what was read before stays."""
        firsts = self._consumer.beginning_offsets(list(astray), timeout_ms=self._timeout_ms)
        for tp, offset in astray.items():
            if tp not in self._consumer.assignment():  # it may be gone since
                continue
            if offset < firsts[tp]:
                log.warning(
                    "retention took records that were not read partition=%s[%d] offsets=%d "
                    "from=%d to=%d",
                    *(*tp, firsts[tp] - offset, offset, firsts[tp] - 1),
                )
            else:
                log.warning(
                    "log ends before its group's position, reading it from its first record "
                    "partition=%s[%d] offset=%d",
                    *(*tp, offset),
                )
            self._consumer.seek(tp, firsts[tp])
