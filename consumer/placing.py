"""From where each partition is read: from its committed offset, asked for when it is needed."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Literal

from kafka import errors as kafka_errors
from kafka.structs import OffsetAndMetadata

from consumer.errors import StreamUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kafka import KafkaConsumer, TopicPartition

log = logging.getLogger("offramp.stream")

NO_EPOCH = -1
_CALL_MS = 200  # an answer that takes longer is found at the next try
_PAUSE_S = 1.0
_LONGEST_S = 120.0  # a transaction that was left open is ended after a minute


class Placing:
    """Places partitions that were assigned or given back.

    kafka-python does so itself for what is assigned, but with an answer that may be old: it keeps
    one that came too late for who asked, and gives it to the next.
    """

    def __init__(
        self, consumer: KafkaConsumer, *, start: Literal["earliest", "latest"], timeout_s: float
    ) -> None:
        """Begin with nothing placed."""
        self._consumer = consumer
        self._start = start
        self._timeout_s = timeout_s
        self._waiting: dict[TopicPartition, float] = {}  # since when
        self._untold: dict[TopicPartition, None] = {}  # of these, asked for without an answer
        self._placed: set[TopicPartition] = set()
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

    def place(self) -> None:
        """Go to the committed offsets of what waits for it.

        Kafka tells none while a transaction on it is open, of a worker that died perhaps: then the
        other partitions go on, and it is tried again.

        Raises:
            StreamUnavailable: there was no answer for too long.
            KafkaError: another failure; what waits goes on waiting.
        """
        assigned = self._consumer.assignment()
        self._placed &= assigned
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
        log.info("reading partition=%s[%d] offset=%s", tp.topic, tp.partition, offset)
        if offset is not None:
            self._consumer.seek(tp, offset)
        elif self._start == "earliest":
            self._consumer.seek_to_beginning(tp)
        else:  # "latest" is now: what comes from here on is nobody's to skip
            timeout_ms = int(self._timeout_s * 1000)
            self._consumer.seek_to_end(tp)
            here = OffsetAndMetadata(self._consumer.position(tp, timeout_ms), "", NO_EPOCH)
            self._consumer.commit({tp: here}, timeout_ms=timeout_ms)
