"""Records handed to kafka-python's producer as whole batches.

Its `send` takes one record at a time, with a future for each, longer than all else a worker does.
"""

from __future__ import annotations

import struct
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from kafka import TopicPartition
from kafka import errors as kafka_errors
from kafka.producer.producer_batch import ProducerBatch
from kafka.record.memory_records import MemoryRecordsBuilder

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kafka import KafkaProducer

    from consumer.events.outgoing import Outgoing

_FORMAT: Final = 2  # of batches, since Kafka 0.11
_MIX: Final = 0x5BD1E995  # of murmur2
_SEED: Final = 0x9747B28C
_32_BITS: Final = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Sent:
    """A batch on its way to one partition."""

    batch: Any

    @property
    def topic(self) -> str:
        """Where it goes."""
        return str(self.batch.topic_partition.topic)

    @property
    def is_done(self) -> bool:
        """Whether it is written, or never will be."""
        return bool(self.batch.produce_future.is_done)

    @property
    def errors(self) -> list[BaseException]:
        """What was wrong with each record of it, if anything was; nothing while it is not done."""
        if not self.is_done:
            return []
        _, _, error_of = self.batch.produce_future.value
        return [] if error_of is None else [error_of(i) for i in range(self.batch.record_count)]


def hand_over(producer: KafkaProducer, outgoing: Sequence[Outgoing]) -> list[Sent]:
    """Put records on their way, in order per partition; `flush` of the producer sends them.

    The partitions are those that the producer's own `send` would choose.

    Raises:
        MessageSizeTooLargeError: one record is too large; none is on its way.
        KafkaError: the transaction has failed before.
    """
    batches = list(_batches(producer, outgoing))
    largest = producer.config["max_request_size"]
    for batch in batches:  # only one that has a single record is larger than `batch_size`
        if batch.records.size_in_bytes() > largest:
            raise kafka_errors.MessageSizeTooLargeError(f"a record of more than {largest} bytes")
    # All partitions at once, before any batch: else each is a request of its own.
    for tp in dict.fromkeys(batch.topic_partition for batch in batches):
        producer._transaction_manager.maybe_add_partition_to_transaction(tp)  # noqa: SLF001
    accumulator = producer._accumulator  # noqa: SLF001
    for batch in batches:
        with accumulator._tp_lock(batch.topic_partition):  # noqa: SLF001
            accumulator._batches[batch.topic_partition].append(batch)  # noqa: SLF001
            accumulator._incomplete.add(batch)  # noqa: SLF001
    return [Sent(batch) for batch in batches]


def _batches(producer: KafkaProducer, outgoing: Sequence[Outgoing]) -> Iterator[Any]:
    config = producer._accumulator.config  # noqa: SLF001
    form = (_FORMAT, config["compression_attrs"], config["batch_size"])
    now_ms = int(time.time() * 1000)
    for tp, items in _by_partition(producer, outgoing).items():
        batch = None
        for item in items:
            row = (now_ms, item.key, item.content, list(item.headers))
            if batch is not None and batch.records.append(*row) is not None:
                continue
            if batch is not None:
                yield batch
            batch = ProducerBatch(tp, MemoryRecordsBuilder(*form))
            # Its future tells `flush` where the batch is split for its size.
            batch.try_append(*row)
        yield batch


def _by_partition(
    producer: KafkaProducer, outgoing: Sequence[Outgoing]
) -> dict[TopicPartition, list[Outgoing]]:
    there: dict[str, list[TopicPartition]] = {}
    found: dict[TopicPartition, list[Outgoing]] = {}
    for item in outgoing:
        if (partitions := there.get(item.topic)) is None:
            numbers = sorted(producer.partitions_for(item.topic) or {0})
            partitions = there[item.topic] = [TopicPartition(item.topic, n) for n in numbers]
        number = item.source_partition if item.key is None else murmur2(item.key) & 0x7FFFFFFF
        found.setdefault(partitions[number % len(partitions)], []).append(item)
    return found


def murmur2(key: bytes) -> int:
    """Return the hash by which Kafka's clients choose a partition; as kafka-python's, but faster.

    >>> murmur2(b"21")
    3321034988
    """
    whole = len(key) & ~3
    found = _SEED ^ len(key)
    for word in struct.unpack_from(f"<{whole >> 2}I", key):
        part = word * _MIX & _32_BITS
        found = (found * _MIX & _32_BITS) ^ ((part ^ part >> 24) * _MIX & _32_BITS)
    if rest := key[whole:]:
        found = (found ^ int.from_bytes(rest, "little")) * _MIX & _32_BITS
    found = (found ^ found >> 13) * _MIX & _32_BITS
    return found ^ found >> 15
