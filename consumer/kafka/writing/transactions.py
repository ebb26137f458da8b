"""Kafka transactions: records and offsets, all or nothing, under one name."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, Final

from kafka import KafkaProducer
from kafka import errors as kafka_errors

from consumer.errors import RecordsTooLarge, SourceGone, StreamUnavailable, TopicRefused
from consumer.kafka import private
from consumer.kafka.client import check_login, translated
from consumer.kafka.writing.writes import BatchRefused, find, write, write_singly

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from kafka.structs import ConsumerGroupMetadata, OffsetAndMetadata, TopicPartition

    from consumer.events.outgoing import Outgoing

log = logging.getLogger("offramp.stream")

_MAX_REQUEST_BYTES = 8 << 20
_LOOK_S = 1.0
PRODUCING: Final = {
    "linger_ms": 1000,  # until all is handed over: the flush that follows sends what is left
    "batch_size": 64 << 10,  # few requests a transaction, yet far below the limits of any topic
    "metrics_enabled": False,  # nobody reads them, and they take time for every request
}
"""How a transaction's records are sent: fewer requests, less work."""


class Transactions:
    """Writes under a transactional id; a second writer with the same id fences the first."""

    def __init__(
        self,
        client: Mapping[str, Any],
        transactional_id: str,
        *,
        timeout_s: float,
        reached: Callable[[str], None] = lambda _: None,
        look: Callable[[Collection[str]], None] = lambda _: None,
    ) -> None:
        """Connect, and abort what a predecessor of the same name left open.

        `reached` is called with the name of each step before it is done; `look` now and then with
        the topics whose offsets Kafka has not taken yet: it raises where one is gone, as
        kafka-python continues trying.
        """
        self._client = client
        self._name = transactional_id
        self._timeout_s = timeout_s
        self._reached = reached
        self._look = look
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
            RecordsTooLarge, TopicRefused, SourceGone: nothing was committed, and another
                transaction may begin.
            StreamUnavailable: it is not known to be committed; call `recover` before the next one.
        """
        try:
            for topic in sorted({item.topic for item in outgoing}):
                self.find(topic, timeout_s=self._timeout_s)
            self._commit(outgoing, offsets, membership, before_commit, write)
        except BatchRefused:
            self.recover()
            try:
                self._commit(outgoing, offsets, membership, before_commit, write_singly)
            except (RecordsTooLarge, TopicRefused, SourceGone):
                self.recover()
                raise
        except (TopicRefused, SourceGone):
            self.recover()
            raise

    def find(self, topic: str, *, timeout_s: float) -> None:
        """Return if a topic is there.

        Raises:
            TopicRefused: it is not, or may not be seen.
            StreamUnavailable: no broker tells.
        """
        with translated(f"looking for topic {topic}"):
            find(self._producer, topic, timeout_s=timeout_s)

    def _commit(
        self,
        outgoing: Sequence[Outgoing],
        offsets: Mapping[TopicPartition, OffsetAndMetadata],
        membership: ConsumerGroupMetadata,
        before_commit: Callable[[], None],
        write: Callable[[KafkaProducer, Sequence[Outgoing], float], None],
    ) -> None:
        manager = private.transaction_of(self._producer)
        with translated("committing"):
            self._reached("begin")
            self._producer.begin_transaction()
            self._failed = True
            self._reached("write")
            write(self._producer, outgoing, self._timeout_s)
            self._reached("offsets")
            self._await(
                "sending offsets",
                manager.send_offsets_to_transaction(offsets, membership),
                meanwhile=lambda: self._look({tp.topic for tp in offsets}),
            )
            self._reached("count")
            before_commit()
            self._reached("commit")
            self._await("committing", manager.begin_commit())
            self._reached("committed")
            self._failed = False

    def _await(
        self,
        doing: str,
        result: Any,  # noqa: ANN401  (kafka-python is untyped)
        *,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> None:
        """Wait for a step of the transaction; kafka-python's own calls wait without a limit.

        Raises:
            StreamUnavailable: it took too long.
            KafkaError: what it failed with, or `meanwhile` raised.
        """
        deadline = time.monotonic() + self._timeout_s
        private.sender_of(self._producer).wakeup()
        while not result.wait(timeout_ms=1000 * min(self._timeout_s, _LOOK_S)):
            if time.monotonic() > deadline:
                raise StreamUnavailable(f"{doing} took longer than {self._timeout_s:.1f} s")
            meanwhile()

    def recover(self) -> None:
        """Replace the producer where its last transaction was not committed.

        A new one of the same name ends that transaction, and waits until its end is known. The old
        one cannot continue even after an abort: kafka-python keeps the refused offsets and
        sends them with its next transaction, so that records would never be read.

        Raises:
            WorkerFenced, StreamUnavailable: a new one could not be made.
        """
        if self._failed:
            log.warning("replacing the producer transactional_id=%s", self._name)
            with translated("replacing the producer"):
                force_close(self._producer)
                check_login(self._client, timeout_s=self._timeout_s)
                self._producer = self._new_producer()
            self._failed = False

    def close(self) -> None:
        """Close the connection."""
        self._producer.close()

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
            force_close(producer)  # else its thread continues
            raise
        return producer


def force_close(producer: KafkaProducer) -> None:
    """Close a producer at once; kafka-python forgets to where records are still under way."""
    try:
        producer.close(timeout=0)
    except kafka_errors.KafkaError:
        private.sender_of(producer).force_close()  # else its thread and socket stay
