"""What kafka-python has fetched, as our records, whatever is wrong with a batch of them."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from kafka.errors import CorruptRecordError, InconsistentTopicIdError, UnknownTopicIdError

from consumer.events.record import Fault, Record
from consumer.kafka import private
from consumer.kafka.reading.by_id import FetchIds, asked_id
from consumer.kafka.reading.raw_records import V2, Unreadable, decoded, raw, unpacked
from policy_state.wording import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from kafka import KafkaConsumer, TopicPartition

    from consumer.kafka.reading.by_id import ReadTopics
    from consumer.kafka.reading.raw_records import Row

log = logging.getLogger("offramp.stream")

_OTHER_TOPIC = {UnknownTopicIdError.errno, InconsistentTopicIdError.errno}


class Fetching:
    """Polls a consumer. A batch that cannot be decoded comes as one record with a fault.

    kafka-python raises there, and from then on loops inside `poll` for ever, over an iterator that
    is used up. So what it decodes with is replaced by what is in this file.
    """

    def __init__(
        self,
        consumer: KafkaConsumer,
        *,
        refused: Callable[[TopicPartition, Exception], None] | None = None,
        topics: ReadTopics | None = None,
    ) -> None:
        """Take a consumer without deserialisers.

        Args:
            consumer: whose fetcher is changed.
            refused: called where a partition gives an error, or something without an end that could
                be passed over; it is paused then, the others continue. By default `poll` raises.
            topics: which partitions are read, and of which topic each; those that a broker does not
                know are put in doubt there. By default all are read, by name.
        """
        self._consumer = consumer
        self._refused = refused
        self._fetcher = fetcher = private.fetcher_of(consumer)
        self._topics = topics
        self._topic_id: str | None = None  # that the answer is about which is parsed
        if topics is not None:
            FetchIds(fetcher, topics)
        fetcher.PartitionRecords = partial(
            _Records,
            end=lambda tp: int(consumer.highwater(tp) or 0),
            suspects={},
            topic_id=lambda: self._topic_id,
        )
        self._parse = private.parse.replace(fetcher, self._parse_or_refuse)
        self._append = private.append.replace(fetcher, self._append_or_refuse)

    def poll(self, timeout_ms: int) -> dict[TopicPartition, list[Record]]:
        """Return what has come in.

        Raises:
            KafkaError: what it is about concerns more than a partition, or there is no `refused`.
        """
        if not private.begun_answer(self._fetcher):
            # Where it is used up but there, kafka-python keeps what it has read of a partition
            # that stood still, and reads no more of it: it would stand still for ever.
            private.begun_answer.replace(self._fetcher, None)
        polled: dict[TopicPartition, list[Record]] = self._consumer.poll(timeout_ms=timeout_ms)
        return polled

    def _parse_or_refuse(self, fetched: Any) -> Any:  # noqa: ANN401  (kafka-python is untyped)
        self._topic_id = asked_id(fetched)
        if self._is_of_another(fetched.topic_partition, self._topic_id):
            return None
        if self._topics is not None and fetched.partition_data.error_code in _OTHER_TOPIC:
            self._topics.doubt(fetched.topic_partition)
            private.cluster_of(self._consumer).request_update()
            return None
        try:
            return self._parse(fetched)
        except Exception as error:  # noqa: BLE001  (a broker's answer may be anything)
            self._refuse(fetched.topic_partition, error)
            return None

    def _append_or_refuse(self, drained: Any, part: Any, *limits: Any) -> int:  # noqa: ANN401
        if self._is_of_another(part.topic_partition, part.topic_id):
            part.drain()
            return 0
        try:
            return int(self._append(drained, part, *limits))
        except Exception as error:  # noqa: BLE001  (the same)
            part.drain()  # else the next poll would not return
            self._refuse(part.topic_partition, error)
            return 0

    def _is_of_another(self, partition: TopicPartition, topic_id: str | None) -> bool:
        """Say whether what was fetched of a partition is of a topic that is not read there now."""
        return self._topics is not None and self._topics.ids.get(partition) != topic_id

    def _refuse(self, partition: TopicPartition, error: Exception) -> None:
        if self._refused is None:
            raise error
        if partition in self._consumer.assignment():
            self._consumer.pause(partition)  # else it would be asked for again at once
        self._refused(partition, error)


class _Records(private.PartitionRecords):
    """The records of one answer about one partition, in order."""

    def __init__(
        self,
        *args: Any,  # noqa: ANN401
        end: Callable[[TopicPartition], int],
        suspects: dict[TopicPartition, int],
        topic_id: Callable[[], str | None] = lambda: None,
        **kwargs: Any,  # noqa: ANN401
    ) -> None:
        self._end = end
        self.topic_id = topic_id()
        self._suspects = suspects  # batches whose checksum was wrong once
        self._damage: Exception | None = None
        self.next_fetch_offset: int
        super().__init__(*args, **kwargs)

    def _unpack_records(self, tp: TopicPartition, fetched: Any, *_: object) -> Iterator[Record]:  # noqa: ANN401
        batch = self._next(fetched)
        while batch is not None:
            following = self._next(fetched)
            if not batch.validate_crc():
                if self._suspects.get(tp) != batch.base_offset:  # the way here may be to blame
                    self._suspects[tp] = batch.base_offset
                    log.warning(
                        "wrong checksum, reading the batch again position=%s[%d]@%d",
                        *tp,
                        batch.base_offset,
                    )
                    break
                msg = f"the checksum of this batch of {counted(len(raw(batch)), 'byte')} is wrong"
                fault = Unreadable("wrong-checksum", msg, raw(batch))
                yield self._faulty(tp, batch, following, fault)
                break
            if not self._left_out(batch) and not (yield from self._read(tp, batch, following)):
                break  # the next answer says anew what was aborted
            if batch.magic == V2:  # also where its last records were compacted away
                self.next_fetch_offset = max(self.next_fetch_offset, batch.next_offset)
            batch = following
        else:
            if self._damage is not None:
                raise self._damage
        self.drain()

    def _next(self, fetched: Any) -> Any:  # noqa: ANN401
        """Return the next batch, or None where there is none that has a beginning and an end."""
        try:
            return fetched.next_batch()
        except Exception as error:  # noqa: BLE001  (raised when those before it are read)
            self._damage = error
            return None

    def _left_out(self, batch: Any) -> bool:  # noqa: ANN401
        """Say whether a batch is a transaction's marker, or of a transaction that was aborted."""
        if batch.magic != V2:
            return False
        self.leader_epoch = batch.leader_epoch
        if self.isolation_level and batch.has_producer_id():
            private.aborted_upto(self)(batch.last_offset)
            if private.has_abort_marker(self)(batch):
                self.aborted_producer_ids.discard(batch.producer_id)
            elif private.is_aborted(self)(batch):
                return True
        return bool(batch.is_control_batch)

    def _read(
        self,
        tp: TopicPartition,
        batch: Any,  # noqa: ANN401
        following: Any,  # noqa: ANN401
    ) -> Generator[Record, None, bool]:
        """Yield a batch's records; say whether these are all."""
        rows = decoded(batch) if batch.magic == V2 else _old(batch)
        try:
            for offset, timestamp_ms, key, value, headers in rows:
                if offset >= self.next_fetch_offset:
                    self.next_fetch_offset = offset + 1
                    self.records_read += 1
                    yield Record(
                        *(tp.topic, tp.partition, offset, timestamp_ms, key, value, headers),
                        topic_id=self.topic_id,
                    )
        except Unreadable as fault:
            yield self._faulty(tp, batch, following, fault)
            return False
        self.bytes_read += batch.size_in_bytes
        return True

    def _faulty(
        self,
        tp: TopicPartition,
        batch: Any,  # noqa: ANN401
        following: Any,  # noqa: ANN401
        error: Unreadable,
    ) -> Record:
        """Return what stands for the rest of a batch, and continue behind it.

        Raises:
            CorruptRecordError: it does not say where it ends. A wrong end would leave records out,
                or lead behind the last one, and so back to the first.
        """
        new = batch.magic == V2
        first = max(self.next_fetch_offset, batch.base_offset) if new else self.next_fetch_offset
        last = batch.last_offset if new else batch.base_offset
        if following is not None and following.magic == V2:
            last = following.base_offset - 1
        if not first <= last < self._end(tp):
            msg = f"{error}, and it says that its offsets are {first}..{last}"
            raise CorruptRecordError(msg) from error
        self.next_fetch_offset = last + 1
        timestamp_ms = batch.max_timestamp if new else -1
        fault = Fault(last, error.error_class, str(error))
        return Record(
            *(tp.topic, tp.partition, first, timestamp_ms, None, error.rest),
            fault=fault,
            topic_id=self.topic_id,
        )


def _old(batch: Any) -> Iterator[Row]:  # noqa: ANN401
    """Yield the records of a batch as Kafka wrote them before 0.11.

    Raises:
        Unreadable: they cannot be decoded.
    """
    whole = raw(batch)
    try:
        if batch.compression_type:  # the value of the only record holds the others
            begin = batch.KEY_OFFSET_V1 if batch.magic else batch.KEY_OFFSET_V0
            _, packed = private.old_record(batch)(begin)
            private.batch_bytes.replace(batch, memoryview(unpacked(batch, packed)))
            private.is_unpacked.replace(batch, by=True)
        for row in batch:
            yield row.offset, row.timestamp or -1, row.key, row.value, ()
    except (MemoryError, Unreadable):  # the former says nothing about the batch
        raise
    except Exception as error:
        msg = (
            f"this batch of {counted(len(whole), 'byte')}, in the format before Kafka 0.11, cannot "
            "be decoded"
        )
        raise Unreadable("invalid-record", msg, whole) from error
