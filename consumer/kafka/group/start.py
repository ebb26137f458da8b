"""From where each partition is read: where its group is in the topic that there is now."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from typing import TYPE_CHECKING

from kafka import errors as kafka_errors

from consumer.errors import SourceGone, StreamUnavailable
from consumer.kafka import private
from consumer.kafka.group.offsets import is_of_another, offset_in, to_commit
from consumer.kafka.reading.by_id import ReadTopics
from policy_state.errors import StoreUnavailable
from policy_state.wording import in_ranges

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from kafka import KafkaConsumer, TopicPartition

    from consumer.events.record import Record
    from consumer.kafka.group.positions import Positions

log = logging.getLogger("offramp.stream")

_CALL_MS = 200  # an answer that takes longer is found at the next try
_PAUSE_S = 1.0
_LONGEST_S = 120.0  # a transaction that was left open is ended after a minute


class StartOffsets:
    """Begins to read partitions that were assigned or given back.

    They are read from the offset that Kafka has; where it has none, from that which Redis has;
    where nobody has one, from the first record. What was committed for a topic that had the same
    name and was deleted is not looked at. The consumer must have no policy for resetting offsets:
    that would skip records, or read them again, without a word.

    kafka-python goes to committed offsets itself, but with an answer that may be old: it keeps one
    that came too late for who asked, and gives it to the next.
    """

    def __init__(
        self,
        consumer: KafkaConsumer,
        positions: Positions,
        topic_id: Callable[[str], str],
        *,
        told_id: Callable[[str], str],
        timeout_s: float,
    ) -> None:
        """Read nothing yet; `topic_id` may return an old id, `told_id` asks for it now."""
        self._consumer = consumer
        self._positions = positions
        self._topic_id = topic_id
        self._told_id = told_id
        self._timeout_ms = int(timeout_s * 1000)
        self._waiting: dict[TopicPartition, float] = {}  # since when
        self._untold: dict[TopicPartition, None] = {}  # of these, asked for without an answer
        self.topics = ReadTopics()
        """What is read, and by which topic id."""
        self._next_look = 0.0
        self._ends: dict[tuple[str, int], int] = {}  # of what was taken, by topic id and partition
        self._astray: dict[TopicPartition, int] = {}
        self._next_try = 0.0
        self._started = defaultdict[tuple[str, str], list[int]](list)  # by topic and what to say

    def __contains__(self, partition: TopicPartition) -> bool:
        """Whether its start is known, so that what is read of it may be used."""
        return partition in self.topics.ids

    def take(self, records: Iterable[Record]) -> dict[tuple[str, int], int]:
        """Return where what was taken before ended, by topic id and partition.

        From there to the first record there are no texts: Kafka gives no markers of transactions,
        and nothing that was aborted or compacted away.
        """
        begins: dict[tuple[str, int], int] = {}
        for record in records:
            key = (record.topic_id or "", record.partition)
            begins.setdefault(key, self._ends.get(key, record.offset))
            self._ends[key] = record.next_offset
        return begins

    def pass_on(self) -> tuple[dict[tuple[str, int], int], dict[tuple[str, int], tuple[str, int]]]:
        """Take what was read without a record; nothing that was read may be open.

        Returns:
            By topic id and partition, where what was taken before ended; by topic and partition,
            the topic id and up to where reading has come.
        """
        begins: dict[tuple[str, int], int] = {}
        passed: dict[tuple[str, int], tuple[str, int]] = {}
        for tp, topic_id in self.topics.fetched.items():
            key, at = (topic_id, tp.partition), private.position(self._consumer, tp)
            if at is not None and at > self._ends[key]:
                begins[key], self._ends[key] = self._ends[key], at
                passed[tp.topic, tp.partition] = topic_id, at
        return begins, passed

    def forget(self, partitions: Iterable[TopicPartition]) -> None:
        """Have the start of partitions looked for again, if they are still, or again, assigned."""
        partitions = list(partitions)
        self.topics.drop(partitions)
        for tp in partitions:
            self._untold.pop(tp, None)
            self._waiting.setdefault(tp, time.monotonic())

    def astray(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Have partitions led on that are read outside of their logs, at these offsets."""
        self._astray.update(offsets)

    def cut_off(self, offsets: Mapping[TopicPartition, int | None]) -> None:
        """Go on where logs end now that were cut behind a broker's failure."""
        for tp, there in offsets.items():
            log.warning("log was truncated partition=%s[%d] at=%s", *tp, there)
            if there is not None:
                self._consumer.seek(tp, there)
                self._note_end(tp, self.topics.ids.get(tp), there)

    def begin(self) -> None:
        """Go to where the group is in what waits for it.

        Kafka does not tell while a transaction on it is open, of a worker that died perhaps: then
        the other partitions continue, and it is tried again; likewise while Redis does not answer.

        Raises:
            StreamUnavailable: there was no answer of Kafka for too long.
            KafkaError: another failure; what waits continues waiting.
        """
        try:
            self._start_waiting()
        finally:
            for (topic, said), numbers in self._started.items():
                log.info("reading topic=%s partitions=%s%s", topic, in_ranges(numbers), said)
            self._started.clear()

    def _start_waiting(self) -> None:
        self._settle_doubts()
        assigned = self._consumer.assignment()
        if gone := self.topics.ids.keys() - assigned:
            self.topics.drop(gone)
        # What has no start yet gets one first, and is found out there if it is astray.
        if astray := {tp: at for tp, at in self._astray.items() if tp in self.topics.ids}:
            self._lead_on(astray)
        self._astray = {}
        for tp in assigned - self.topics.ids.keys():
            self._waiting.setdefault(tp, time.monotonic())
        for tp in [tp for tp in self._waiting if tp not in self._untold]:
            if not self._start(tp):
                return  # the others have their turn at the next call: this one took its time
        if time.monotonic() < self._next_try:
            return
        while self._untold and self._start(next(iter(self._untold))):
            pass

    def _start(self, tp: TopicPartition) -> bool:
        """Begin to read one partition; say whether that is done."""
        if tp not in self._consumer.assignment():
            log.info("no longer assigned partition=%s[%d]", tp.topic, tp.partition)
            self._settled(tp)
            return True
        if tp not in self._untold:  # what was asked before is an old answer
            answers = private.kept_answers(private.coordinator_of(self._consumer))
            answers.pop(frozenset((tp,)), None)
        try:
            self._seek(tp)
        except BaseException as error:
            self._untold.pop(tp, None)
            self._untold[tp] = None  # behind the others, so that all get a turn
            self._next_try = time.monotonic() + _PAUSE_S
            if isinstance(error, SourceGone):  # it leaves at the next rebalance, or is made anew
                self._waiting[tp] = time.monotonic()
                return False
            if isinstance(error, StoreUnavailable):
                self._waiting[tp] = time.monotonic()  # Redis may be away for as long as it likes
                log.warning("waiting for redis partition=%s[%d] error=%s", *tp, error)
                return False
            if not isinstance(error, kafka_errors.KafkaTimeoutError):
                raise
            if time.monotonic() > self._waiting[tp] + _LONGEST_S:
                at = f"{tp.topic}[{tp.partition}]"
                msg = f"Kafka did not return the offset of {at} within {_LONGEST_S:g} s"
                raise StreamUnavailable(msg) from error
            return False
        self._settled(tp)
        return True

    def _settled(self, tp: TopicPartition) -> None:
        del self._waiting[tp]
        self._untold.pop(tp, None)

    def _settle_doubts(self) -> None:
        """Ask which topics there are in place of those that a broker does not know.

        One may be there all the same, as where its leader has not heard of it yet: then it is read
        on, as batches of it may be under way. One of another id begins anew.
        """
        if not self.topics.doubted or time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + _PAUSE_S
        for topic in sorted({tp.topic for tp in self.topics.doubted}):
            try:
                topic_id = self._told_id(topic)
            except SourceGone:
                continue
            except StreamUnavailable as error:
                log.warning("cannot ask for the id of a topic topic=%s error=%s", topic, error)
                continue
            for tp in [tp for tp in self.topics.ids if tp.topic == topic]:
                if self.topics.ids[tp] == topic_id:
                    self.topics.trust(tp)
                else:
                    self._made_anew(tp)

    def _made_anew(self, tp: TopicPartition) -> None:
        log.warning("topic was deleted and created again partition=%s[%d]", *tp)
        self.forget([tp])

    def _seek(self, tp: TopicPartition) -> None:
        committed = self._consumer.committed(tp, metadata=True, timeout_ms=_CALL_MS)
        topic_id, read = self._topic_id(tp.topic), self.topics.id_of(tp.topic)
        # What is known may be older than what is read, or than the offset.
        if read not in {None, topic_id} or is_of_another(committed, topic_id):
            topic_id = self._told_id(tp.topic)
        self._go(tp, topic_id, offset_in(committed, topic_id), is_free=committed is None)
        for other in self.topics.read(tp, topic_id):
            self._made_anew(other)

    def _go(self, tp: TopicPartition, topic_id: str, offset: int | None, *, is_free: bool) -> None:
        """Go to an offset, or where Redis says; commit that where Kafka has none at all."""
        source = f"{topic_id}/{tp.partition}"
        self._note_end(tp, topic_id, offset or 0)
        if offset is not None:
            self._consumer.seek(tp, offset)
            self._positions.note(source, offset)
            self._started[tp.topic, ""].append(tp.partition)
            return
        # Where one partition has no position a poll gives nothing of the others. This one stands
        # still meanwhile, as nothing is read of what has no start.
        self._consumer.seek(tp, 0)
        offset = self._positions.kept(source)
        if offset is None:
            self._consumer.seek_to_beginning(tp)
            said = " from the first record: nothing was read before"
            self._started[tp.topic, said].append(tp.partition)
            return
        self._started[tp.topic, " from the position in redis: kafka has none"].append(tp.partition)
        self._note_end(tp, topic_id, offset)
        self._consumer.seek(tp, offset)
        if not is_free:
            return
        try:  # so that others can see it, and it is known without Redis
            self._consumer.commit({tp: to_commit(offset, topic_id)}, timeout_ms=self._timeout_ms)
        except kafka_errors.KafkaError as error:
            log.info("cannot commit a position partition=%s[%d] error=%r", *tp, error)

    def _note_end(self, tp: TopicPartition, topic_id: str | None, offset: int) -> None:
        if topic_id is not None:
            self._ends[topic_id, tp.partition] = offset

    def _lead_on(self, astray: Mapping[TopicPartition, int]) -> None:
        """Go to the first record of what is read outside of its log; what was read before stays."""
        firsts = self._consumer.beginning_offsets(list(astray), timeout_ms=self._timeout_ms)
        for tp, offset in astray.items():
            if tp not in self._consumer.assignment():  # it may be gone since
                continue
            if offset < firsts[tp]:
                log.warning(
                    "retention deleted records before they were read partition=%s[%d] offsets=%d "
                    "from=%d to=%d",
                    *(*tp, firsts[tp] - offset, offset, firsts[tp] - 1),
                )
            else:
                log.warning(
                    "log ends before the position of the group, reading from the first record "
                    "partition=%s[%d] offset=%d",
                    *(*tp, offset),
                )
                self._note_end(tp, self.topics.ids.get(tp), firsts[tp])
            self._consumer.seek(tp, firsts[tp])
