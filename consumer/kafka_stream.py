"""The worker's side of Kafka: micro-batches in, transactions out."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka import errors as kafka_errors
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.structs import OffsetAndMetadata

from consumer.errors import StreamUnavailable, WorkerFenced
from consumer.records import Headers, Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from consumer.settings import BatchSettings, KafkaSettings

log = logging.getLogger("offramp.stream")

# A join of the group finishes inside a poll or not at all: shorter first polls starve it.
_FIRST_POLL_MS = 500
_MAX_REQUEST_BYTES = 8 << 20
_NO_EPOCH = -1
_FENCED = (
    kafka_errors.ProducerFencedError,
    kafka_errors.InvalidProducerEpochError,
    kafka_errors.FencedInstanceIdError,
)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One record to be written."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers
    source_partition: int  # where it came from: keeps records without a key in order


class KafkaStream:
    """Reads micro-batches and commits what became of them, exactly once.

    A batch is committed by `commit` or given back by `rewind`; the next poll comes after that.
    """

    def __init__(self, settings: KafkaSettings, *, instance: str, topics: str) -> None:
        """Connect and join the group.

        Args:
            settings: addresses, group, time-outs.
            instance: name of this worker; a second one with the same name fences the first.
            topics: regular expression of the input topics.

        Raises:
            StreamUnavailable: no broker answers.
        """
        self._settings = settings
        self._timeout_s = settings.request_timeout_s
        self._topic_ids: dict[str, str] = {}
        self._in_doubt = False  # a transaction's end is unknown: only a new producer can tell
        self._client = {
            "bootstrap_servers": settings.bootstrap_servers.split(","),
            "client_id": f"offramp-{instance}",
        }
        self._transactional_id = f"{settings.group}-{instance}"
        with _translated("connecting"):
            self._admin = KafkaAdminClient(**self._client)
            self._producer = self._new_producer()
            self._consumer = KafkaConsumer(
                **self._client,
                group_id=settings.group,
                group_instance_id=self._transactional_id,
                enable_auto_commit=False,
                auto_offset_reset=settings.start,
                isolation_level="read_committed",
                metadata_max_age_ms=10_000,
                session_timeout_ms=10_000,
                partition_assignment_strategy=[CooperativeStickyAssignor],
            )
            self._consumer.subscribe(pattern=topics)

    def poll(self, limits: BatchSettings) -> list[Record]:
        """Return the next micro-batch, in order per partition; empty if nothing came in a while.

        Raises:
            StreamUnavailable: the broker does not answer.
        """
        with _translated("polling"):
            records = self._take(_FIRST_POLL_MS, limits.max_events)
            deadline = time.monotonic() + limits.max_wait_ms / 1000
            while records and len(records) < limits.max_events:
                left_ms = int((deadline - time.monotonic()) * 1000)
                if left_ms <= 0:
                    break
                records += self._take(left_ms, limits.max_events - len(records))
        return records

    def topic_id(self, topic: str) -> str:
        """Return the id of a topic: another one if it was deleted and created again."""
        if topic not in self._topic_ids:
            with _translated(f"describing {topic}"):
                self._topic_ids = {
                    entry["name"]: str(entry["topic_id"])
                    for entry in self._admin.describe_topics([topic])
                } | self._topic_ids
        return self._topic_ids[topic]

    def assigned(self) -> list[str]:
        """Return the partitions this worker reads now, as `topic[partition]`."""
        return sorted(f"{tp.topic}[{tp.partition}]" for tp in self._consumer.assignment())

    def commit(
        self,
        records: Sequence[Record],
        outgoing: Sequence[Outgoing],
        *,
        before_commit: Callable[[], None],
    ) -> None:
        """Write everything and mark the records as read, all or nothing.

        1. begin, 2. send, 3. wait until all is written, 4. add the offsets to the transaction,
        5. `before_commit` (the counters: the last thing that may fail), 6. commit.

        Raises:
            WorkerFenced: another worker has this name; nothing was committed.
            StreamUnavailable: nothing was committed; `rewind`, then poll again.
        """
        offsets = {
            TopicPartition(r.topic, r.partition): OffsetAndMetadata(r.offset + 1, "", _NO_EPOCH)
            for r in records  # in order per partition: the last one stays
        }
        with _translated("committing"):
            self._producer.begin_transaction()
            try:
                self._write(outgoing)
                group = self._consumer.group_metadata()
                self._bounded(self._producer.send_offsets_to_transaction, offsets, group)
                before_commit()
                self._bounded(self._producer.commit_transaction)
            except _FENCED:
                raise
            except BaseException:
                self._abort()
                raise

    def rewind(self, records: Sequence[Record]) -> None:
        """Give a batch back: what is still assigned here is read again from its first record.

        Raises:
            WorkerFenced, StreamUnavailable: a new producer was needed and could not be made.
        """
        if self._in_doubt:
            log.warning("new producer transactional_id=%s", self._transactional_id)
            with _translated("replacing the producer"):
                self._producer.close(timeout=0)
                self._producer = self._new_producer()
            self._in_doubt = False
        first: dict[TopicPartition, int] = {}
        for record in records:
            first.setdefault(TopicPartition(record.topic, record.partition), record.offset)
        for tp, offset in first.items():
            if tp in self._consumer.assignment():
                self._consumer.seek(tp, offset)
        self._topic_ids.clear()

    def close(self) -> None:
        """Leave the group and close all connections, within the time limit."""
        for close in (self._consumer.close, self._producer.close, self._admin.close):
            try:
                self._bounded(close)
            except (StreamUnavailable, kafka_errors.KafkaError) as error:
                log.warning("close failed error=%r", error)

    def _take(self, timeout_ms: int, limit: int) -> list[Record]:
        polled = self._consumer.poll(timeout_ms=timeout_ms, max_records=limit)
        return [
            Record(
                topic=r.topic,
                partition=r.partition,
                offset=r.offset,
                timestamp_ms=r.timestamp,
                key=r.key,
                value=r.value,
                headers=tuple((name, value or b"") for name, value in r.headers),
            )
            for rows in polled.values()
            for r in rows
        ]

    def _write(self, outgoing: Sequence[Outgoing]) -> None:
        sent = [self._send(item) for item in outgoing]
        self._producer.flush(timeout=self._timeout_s)
        for future in sent:
            if future.exception is not None:
                raise future.exception

    def _send(self, item: Outgoing) -> Any:  # noqa: ANN401  (kafka-python is untyped)
        partition = None
        if item.key is None:
            there = self._producer.partitions_for(item.topic) or {0}
            partition = item.source_partition % len(there)
        return self._producer.send(
            item.topic,
            key=item.key,
            value=item.value,
            headers=list(item.headers),
            partition=partition,
        )

    def _abort(self) -> None:
        """Abort; where that fails a new producer has to: starting one aborts what is open."""
        try:
            self._bounded(self._producer.abort_transaction)
        except (StreamUnavailable, kafka_errors.KafkaError) as error:
            log.warning("abort failed error=%r", error)
            self._in_doubt = True

    def _new_producer(self) -> KafkaProducer:
        producer = KafkaProducer(
            **self._client,
            transactional_id=self._transactional_id,
            acks="all",
            linger_ms=0,
            retry_backoff_ms=5,  # the first produce of a transaction waits for one retry
            max_request_size=_MAX_REQUEST_BYTES,
            max_block_ms=int(self._timeout_s * 1000),
        )
        producer.init_transactions()
        return producer

    def _bounded(self, call: Callable[..., None], *args: object) -> None:
        """Run a call that has no time limit of its own, and give up on it when the time is over."""
        failure: list[BaseException] = []

        def run() -> None:
            try:
                call(*args)
            except BaseException as error:  # noqa: BLE001  (handed to the caller)
                failure.append(error)

        thread = threading.Thread(target=run, name=f"offramp-{call.__name__}", daemon=True)
        thread.start()
        thread.join(self._timeout_s)
        if thread.is_alive():
            raise StreamUnavailable(f"{call.__name__} took longer than {self._timeout_s} s")
        if failure:
            raise failure[0]


@contextmanager
def _translated(doing: str) -> Iterator[None]:
    try:
        yield
    except _FENCED as error:
        raise WorkerFenced(f"{doing}: another worker has this name: {error!r}") from error
    except kafka_errors.KafkaError as error:
        raise StreamUnavailable(f"{doing}: {error!r}") from error
