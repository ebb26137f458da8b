"""Records into topics without a transaction: bounded waits, and what was written is counted."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, Final, Self

from kafka import KafkaAdminClient, KafkaProducer
from kafka.errors import KafkaError, MessageSizeTooLargeError, UnknownTopicOrPartitionError

from consumer.errors import InvalidSettings, StreamUnavailable
from consumer.kafka.client import connect, translated
from consumer.kafka.targets import described_refusal
from consumer.kafka.writing.transactions import force_close
from consumer.routes.pattern import check_topic

if TYPE_CHECKING:
    from collections.abc import Sequence

    from consumer.settings.sections import KafkaSettings

_FLUSH_RECORDS: Final = 1000
_FLUSH_BYTES: Final = 8 << 20  # kafka-python's buffer has no limit
_LINGER_MS: Final = 20
_LAST_WAIT_S: Final = 10.0  # for what is under way where it ends early


class TopicWriter:
    """Writes records and counts those that the broker has confirmed, also where it ends early.

    Used in a `with`: at its end, whatever ends it, what is under way is waited for. Then `written`
    counts what is in each topic, and `unclear` tells of how many it is not known.
    """

    def __init__(self, settings: KafkaSettings) -> None:
        """Connect.

        Raises:
            StreamUnavailable: no broker answers.
        """
        self.written: Counter[str] = Counter()
        self._timeout_s = settings.request_timeout_s
        self._pending: list[tuple[str, str, Any]] = []  # topic, origin, future of kafka-python
        self._pending_bytes = 0
        self._known: set[str] = set()
        client = connect(settings)
        with ExitStack() as undo, translated("connecting"):
            self._admin = undo.enter_context(KafkaAdminClient(**client))
            self._producer = KafkaProducer(
                **client,
                acks="all",
                linger_ms=_LINGER_MS,
                max_block_ms=int(self._timeout_s * 1000),
            )
            undo.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self.flush()
            else:
                with suppress(KafkaError):
                    self._producer.flush(timeout=min(self._timeout_s, _LAST_WAIT_S))
                self._count()
        finally:
            self._admin.close()
            force_close(self._producer)

    @property
    def unclear(self) -> int:
        """How many records were sent of which it is not known whether they are in the topic."""
        return len(self._pending)

    def send(
        self,
        topic: str,
        value: bytes | None,
        *,
        origin: str,
        key: bytes | None = None,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> bool:
        """Send a record and say whether all that were sent until now are confirmed.

        The topic must exist; `origin` is where the record comes from, for errors.

        Raises:
            InvalidSettings: no topic can have such a name.
            StreamUnavailable: there is no such topic, or Kafka did not take a record.
        """
        self._check(topic, origin)
        try:
            future = self._producer.send(topic, value, key=key, headers=list(headers))
        except MessageSizeTooLargeError as error:
            raise StreamUnavailable(
                f"{origin}: the record is too large for Kafka: {error}"
            ) from error
        except KafkaError as error:
            raise StreamUnavailable(f"{origin}: writing to {topic}: {error!r}") from error
        self._pending.append((topic, origin, future))
        self._pending_bytes += len(value or b"") + len(key or b"")
        if len(self._pending) < _FLUSH_RECORDS and self._pending_bytes < _FLUSH_BYTES:
            return False
        self.flush()
        return True

    def flush(self) -> None:
        """Wait until the broker has all that was sent.

        Raises:
            StreamUnavailable: it did not take a record, or does not answer in time.
        """
        first = self._pending[0][1] if self._pending else ""
        with translated(f"writing the records from {first} on"):
            self._producer.flush(timeout=self._timeout_s)
        sent = self._pending
        self._count()
        for topic, origin, future in sent:
            if future.exception is not None:
                with translated(f"{origin}: writing to {topic}"):
                    raise future.exception

    def _count(self) -> None:
        """Count what is confirmed; what is not stays pending, unless it was refused."""
        sent = self._pending
        self.written.update(topic for topic, _, f in sent if f.is_done and f.exception is None)
        self._pending = [pending for pending in sent if not pending[2].is_done]
        self._pending_bytes = 0

    def _check(self, topic: str, origin: str) -> None:
        """Make sure that a topic is there: the producer asks for it until its time is over.

        Raises:
            InvalidSettings: no topic can have such a name.
            StreamUnavailable: there is no such topic, or it may not be seen.
        """
        if topic in self._known:
            return
        try:
            check_topic(topic)
        except ValueError as error:
            raise InvalidSettings(f"{origin}: {error}") from error
        with translated(f"asking for topic {topic}"):
            (found,) = self._admin.describe_topics([topic])
        if found["error_code"] == UnknownTopicOrPartitionError.errno:
            said = f"topic {topic} does not exist; create it with `offramp topics init {topic}`"
            raise StreamUnavailable(said)
        if found["error_code"] and (refused := described_refusal(found)) is not None:
            raise StreamUnavailable(str(refused)) from refused
        self._known.add(topic)
