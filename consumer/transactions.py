"""Kafka transactions: records and offsets, all or nothing, under one name."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from kafka import KafkaProducer
from kafka import errors as kafka_errors

from consumer.errors import RecordsTooLarge, StreamUnavailable
from consumer.kafka_calls import bounded, translated
from consumer.kafka_client import check_login
from consumer.records import Headers, headers_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from kafka.structs import ConsumerGroupMetadata, OffsetAndMetadata, TopicPartition

log = logging.getLogger("offramp.stream")

_MAX_REQUEST_BYTES = 8 << 20
_SIZE_MARGIN_BYTES = 64  # of what a record takes beside its parts
_TOO_LARGE = (kafka_errors.MessageSizeTooLargeError, kafka_errors.RecordListTooLargeError)
PRODUCING: Final = {
    "linger_ms": 1000,  # until all is handed over: the flush that follows sends what is left
    "batch_size": 64 << 10,  # few requests a transaction, yet far below the limits of any topic
    "metrics_enabled": False,  # nobody reads them, and they take time for every request
}
"""How a transaction's records are sent: fewer requests, less work."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One record to be written."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers
    source_partition: int  # where it came from: keeps records without a key in order

    @property
    def size_bytes(self) -> int:
        """How large its parts are together."""
        return len(self.key or b"") + len(self.value or b"") + headers_bytes(self.headers)


class _BatchRefused(Exception):
    """A topic or the producer finds something too large; it is not clear what."""


class Transactions:
    """Writes under a transactional id; a second writer with the same id fences the first."""

    def __init__(
        self,
        client: Mapping[str, Any],
        transactional_id: str,
        *,
        timeout_s: float,
        reached: Callable[[str], None],
    ) -> None:
        """Connect, and abort what a predecessor of the same name left open.

        Args:
            client: kafka-python's connection settings.
            transactional_id: the name.
            timeout_s: longest wait for any answer.
            reached: called with the name of each step before it is done.
        """
        self._client = client
        self._name = transactional_id
        self._timeout_s = timeout_s
        self._reached = reached
        self._failed = False
        self._producer = self._new_producer()

    def commit(
        self,
        outgoing: Sequence[Outgoing],
        offsets: Mapping[TopicPartition, OffsetAndMetadata],
        membership: ConsumerGroupMetadata,
        *,
        before_commit: Callable[[], None],
    ) -> None:
        """Write everything and the offsets, all or nothing.

        1. begin, 2. send, 3. wait until all is written, 4. add the offsets to the transaction,
        5. `before_commit` (the counters: the last thing that may fail), 6. commit.

        Raises:
            WorkerFenced: another writer has this name; nothing was committed.
            RecordsTooLarge: nothing was committed, and another transaction may begin.
            StreamUnavailable: it is not known to be committed; call `recover` before the next one.
        """
        try:
            self._commit(outgoing, offsets, membership, before_commit, self._write)
        except _BatchRefused:
            self.recover()
            try:
                self._commit(outgoing, offsets, membership, before_commit, self._write_singly)
            except RecordsTooLarge:
                self.recover()
                raise

    def _commit(
        self,
        outgoing: Sequence[Outgoing],
        offsets: Mapping[TopicPartition, OffsetAndMetadata],
        membership: ConsumerGroupMetadata,
        before_commit: Callable[[], None],
        write: Callable[[Sequence[Outgoing]], None],
    ) -> None:
        with translated("committing"):
            self._reached("begin")
            self._producer.begin_transaction()
            self._failed = True
            self._reached("write")
            write(outgoing)
            self._reached("offsets")
            self._bounded(self._producer.send_offsets_to_transaction, offsets, membership)
            self._reached("count")
            before_commit()
            self._reached("commit")
            self._bounded(self._producer.commit_transaction)
            self._reached("committed")
            self._failed = False

    def recover(self) -> None:
        """Replace the producer where its last transaction was not committed.

        A new one of the same name ends that transaction, and waits until its end is known. The old
        one cannot go on even after an abort: kafka-python keeps the offsets that were refused and
        sends them with its next transaction, so that records would never be read.

        Raises:
            WorkerFenced, StreamUnavailable: a new one could not be made.
        """
        if self._failed:
            log.warning("new producer transactional_id=%s", self._name)
            with translated("replacing the producer"):
                _force_close(self._producer)
                check_login(self._client, timeout_s=self._timeout_s)
                self._producer = self._new_producer()
            self._failed = False

    def close(self) -> None:
        """Close the connection."""
        self._producer.close()

    def _write(self, outgoing: Sequence[Outgoing]) -> None:
        """Send everything and wait until it is written.

        Raises:
            _BatchRefused: a topic does not take a batch for its size.
        """
        try:
            sent = [self._send(item) for item in outgoing]
            self._producer.flush(timeout=self._timeout_s)
        except kafka_errors.KafkaError as error:
            unclear = (*_TOO_LARGE, kafka_errors.UnknownError)  # unknown: a batch was split
            if any(isinstance(cause, unclear) for cause in (error, *error.args)):
                raise _BatchRefused from error
            raise
        failures = [future.exception for future in sent if future.exception is not None]
        if any(isinstance(failure, _TOO_LARGE) for failure in failures):
            raise _BatchRefused
        if failures:
            raise failures[0]

    def _write_singly(self, outgoing: Sequence[Outgoing]) -> None:
        """Write each record as a batch of its own.

        Where a topic refuses a batch, kafka-python splits it, and in the end calls all of the
        transaction's records too large: so this finds out which one is.

        Raises:
            RecordsTooLarge: with the places of the first that is, and of those larger than it.
        """
        for place, item in enumerate(outgoing):
            try:
                sent = self._send(item)
                self._producer.flush(timeout=self._timeout_s)
                sent.get(self._timeout_s)
            except _TOO_LARGE as error:
                least = item.size_bytes + _SIZE_MARGIN_BYTES
                larger = [
                    i
                    for i, other in enumerate(outgoing)
                    if other.topic == item.topic and other.size_bytes > least
                ]
                raise RecordsTooLarge((place, *larger)) from error

    def _send(self, item: Outgoing) -> Any:  # noqa: ANN401  (kafka-python is untyped)
        try:
            partition, value = None, item.value
            if item.key is None:
                there = self._producer.partitions_for(item.topic) or {0}
                partition = item.source_partition % len(there)
                value = b"" if value is None else value  # kafka-python takes no empty record
            return self._producer.send(
                item.topic,
                key=item.key,
                value=value,
                headers=list(item.headers),
                partition=partition,
            )
        except kafka_errors.KafkaTimeoutError as error:
            msg = f"no broker tells of topic {item.topic} in {self._timeout_s:g} s: is it there?"
            raise StreamUnavailable(msg) from error

    def _new_producer(self) -> KafkaProducer:
        producer = KafkaProducer(
            **self._client,
            transactional_id=self._name,
            acks="all",
            **PRODUCING,
            retry_backoff_ms=5,  # the first produce of a transaction waits for one retry
            max_request_size=_MAX_REQUEST_BYTES,
            max_block_ms=int(self._timeout_s * 1000),
        )
        try:
            producer.init_transactions()
        except BaseException:
            _force_close(producer)  # else its thread goes on
            raise
        return producer

    def _bounded(self, call: Callable[..., None], *args: object) -> None:
        bounded(call, *args, timeout_s=self._timeout_s)


def _force_close(producer: KafkaProducer) -> None:
    """Close a producer at once; kafka-python forgets to where records are still under way."""
    try:
        producer.close(timeout=0)
    except kafka_errors.KafkaTimeoutError:
        producer._sender.force_close()  # noqa: SLF001  (else its thread and socket stay)
