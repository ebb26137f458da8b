"""The writing of one transaction, and by how it fails which topic or record is to blame."""

from __future__ import annotations

import struct
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from kafka import TopicPartition
from kafka import errors as kafka_errors

from consumer.errors import RecordsTooLarge, StreamUnavailable, TopicRefused
from consumer.kafka import private
from consumer.kafka.targets import missing, refusal, unseen

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kafka import KafkaProducer

    from consumer.events.outgoing import Outgoing

_LOOK_S: Final = 1.0  # what a broker that answers does not tell of in this time is not there
_SIZE_MARGIN_BYTES: Final = 64  # of what a record takes beside its parts
_TOO_LARGE: Final = (kafka_errors.MessageSizeTooLargeError, kafka_errors.RecordListTooLargeError)
_FORMAT: Final = 2  # of batches, since Kafka 0.11
_MIX: Final = 0x5BD1E995  # of murmur2
_SEED: Final = 0x9747B28C
_32_BITS: Final = 0xFFFFFFFF


class BatchRefused(Exception):
    """A topic or the producer finds something too large; it is not clear what."""


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


class Partitions:
    """Chooses the partition of a record: by its key as `send` does, without one as its source's."""

    def __init__(self, producer: KafkaProducer) -> None:
        self._producer = producer
        self._there: dict[str, list[TopicPartition]] = {}

    def __call__(self, item: Outgoing) -> TopicPartition:
        """Return where a record goes."""
        if (there := self._there.get(item.topic)) is None:
            numbers = sorted(self._producer.partitions_for(item.topic) or {0})
            there = self._there[item.topic] = [TopicPartition(item.topic, n) for n in numbers]
        number = item.source_partition if item.key is None else murmur2(item.key) & 0x7FFFFFFF
        return there[number % len(there)]


def find(producer: KafkaProducer, topic: str, *, timeout_s: float) -> None:
    """Return if a topic is there; a broker that makes topics by itself is given time to do so.

    Raises:
        TopicRefused: it is not, or may not be seen.
        StreamUnavailable: no broker tells.
    """
    cluster = private.metadata_of(producer)  # else a missing topic is waited for in full
    begun = time.monotonic()
    while not cluster.partitions_for_topic(topic):
        try:
            private.look_for(producer)(topic, _LOOK_S * 1000)
        except kafka_errors.TopicAuthorizationFailedError as error:
            raise unseen(topic) from error
        except kafka_errors.KafkaTimeoutError as error:
            if private.answered_ms(cluster) > begun * 1000:
                # else it would be asked for ten times a second for as long as it is not there
                private.asked_topics.replace(cluster, private.asked_topics(cluster) - {topic})
                raise missing(topic) from error
            if time.monotonic() > begun + timeout_s:
                msg = f"no broker answered about topic {topic} within {timeout_s:g} s"
                raise StreamUnavailable(msg) from error


def write(producer: KafkaProducer, outgoing: Sequence[Outgoing], timeout_s: float) -> None:
    """Send everything and wait until it is written.

    Raises:
        BatchRefused: a topic does not take a batch for its size.
        TopicRefused: a topic takes nothing, or not these records.
    """
    sent: list[Sent] = []
    try:
        sent += _hand_over(producer, outgoing)
        _flush(producer, sent, timeout_s=timeout_s)
    except kafka_errors.KafkaError as error:
        _check_refusals(sent)
        unclear = (*_TOO_LARGE, kafka_errors.UnknownError)  # unknown: a batch was split
        if any(isinstance(cause, unclear) for cause in (error, *error.args)):
            raise BatchRefused from error
        raise
    _check_refusals(sent)
    failures = [error for batch in sent for error in batch.errors]
    split = any(not batch.is_done for batch in sent)  # for its size, before the flush began
    if split or any(isinstance(failure, _TOO_LARGE) for failure in failures):
        raise BatchRefused
    if failures:
        raise failures[0]


def write_singly(producer: KafkaProducer, outgoing: Sequence[Outgoing], timeout_s: float) -> None:
    """Write each record as a separate batch.

    Where a topic refuses a batch, kafka-python splits it, and in the end calls all of the
    transaction's records too large: so this finds out which one is.

    Raises:
        RecordsTooLarge: with the index of the first that is, and of those larger than it.
        TopicRefused: a topic takes nothing, or not these records.
    """
    partition_of = Partitions(producer)
    for index, item in enumerate(outgoing):
        try:
            topic, number = partition_of(item)
            rest = {"key": item.key, "headers": list(item.headers), "partition": number}
            sent = producer.send(topic, item.content, **rest)
            producer.flush(timeout=timeout_s)
            sent.get(timeout_s)
        except _TOO_LARGE as error:
            least = item.size_bytes + _SIZE_MARGIN_BYTES
            larger = [
                i
                for i, other in enumerate(outgoing)
                if other.topic == item.topic and other.size_bytes > least
            ]
            raise RecordsTooLarge((index, *larger)) from error
        except kafka_errors.KafkaError as error:
            if (refused := refusal(item.topic, error)) is not None:
                raise refused from error
            raise


def _hand_over(producer: KafkaProducer, outgoing: Sequence[Outgoing]) -> list[Sent]:
    """Put records on their way, in order per partition; `flush` of the producer sends them.

    Its own `send` takes one record at a time, with a future for each, longer than all else a worker
    does.

    Raises:
        MessageSizeTooLargeError: one record is too large; none is on its way.
        KafkaError: the transaction has failed before.
    """
    batches = list(_batches(producer, outgoing))
    largest = producer.config["max_request_size"]
    for batch in batches:  # only one that has a single record is larger than `batch_size`
        if batch.records.size_in_bytes() > largest:
            raise kafka_errors.MessageSizeTooLargeError(f"a record of more than {largest} bytes")
    # All partitions at once, before any batch: else each is a separate request.
    for tp in dict.fromkeys(batch.topic_partition for batch in batches):
        private.transaction_of(producer).maybe_add_partition_to_transaction(tp)
    accumulator = private.accumulator_of(producer)
    for batch in batches:
        with private.lock_of(accumulator)(batch.topic_partition):
            private.batches_of(accumulator)[batch.topic_partition].append(batch)
            private.incomplete(accumulator).add(batch)
    return [Sent(batch) for batch in batches]


def _batches(producer: KafkaProducer, outgoing: Sequence[Outgoing]) -> Iterator[Any]:
    config = private.accumulator_of(producer).config
    form = (_FORMAT, config["compression_attrs"], config["batch_size"])
    now_ms = int(time.time() * 1000)
    partition_of = Partitions(producer)
    by_partition: dict[TopicPartition, list[Outgoing]] = {}
    for item in outgoing:
        by_partition.setdefault(partition_of(item), []).append(item)
    for tp, items in by_partition.items():
        batch = None
        for item in items:
            row = (now_ms, item.key, item.content, list(item.headers))
            if batch is not None and batch.records.append(*row) is not None:
                continue
            if batch is not None:
                yield batch
            batch = private.Batch(tp, private.Builder(*form))
            # Its future tells `flush` where the batch is split for its size.
            batch.try_append(*row)
        yield batch


def _flush(producer: KafkaProducer, sent: Sequence[Sent], *, timeout_s: float) -> None:
    """Wait until all is written, looking now and then whether the topics are there still.

    Raises:
        TopicRefused: one is not, or takes nothing in a time in which others do.
        StreamUnavailable: none of them does.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            producer.flush(timeout=min(_LOOK_S, timeout_s))
        except kafka_errors.KafkaTimeoutError as error:
            waiting = {batch.topic for batch in sent if not batch.is_done}
            for topic in sorted(waiting):
                find(producer, topic, timeout_s=timeout_s)
            if time.monotonic() > deadline:
                written = {batch.topic for batch in sent if batch.is_done}
                if written and (stuck := sorted(waiting - written)):
                    cause = f"accepted no record for {timeout_s:g} s, while other topics did"
                    advice = "check the brokers that have its replicas, and min.insync.replicas"
                    raise TopicRefused(stuck[0], cause, advice) from error
                said = f"records for {', '.join(sorted(waiting))} were not written"
                raise StreamUnavailable(f"{said} within {timeout_s:g} s") from error
            private.metadata_of(producer).request_update()  # the next look is at its answer
        else:
            return


def _check_refusals(sent: Sequence[Sent]) -> None:
    """Raise TopicRefused where it is for its topic that a record was not written."""
    for batch in sent:
        for error in batch.errors:
            if found := refusal(batch.topic, error):
                raise found from error


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
