"""The dead-letter topic: reading it, and sending what was mended back to where it came from."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from consumer.errors import StreamUnavailable
from consumer.kafka_calls import translated
from consumer.kafka_client import connect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from consumer.settings import KafkaSettings

_PREFIX = "offramp.error."
_REPLAYS = "offramp.replays"
_FLUSH_EVERY = 500
_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Letter:
    """One record of the dead-letter topic."""

    partition: int  # of the dead-letter topic
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]  # the record's own
    error: dict[str, str]  # what Offramp added: stage, class, message, topic, partition, ...
    replays: int  # how often it was sent back before

    @property
    def place(self) -> str:
        """Where it stands in the dead-letter topic, as `show` takes it."""
        return f"{self.partition}@{self.offset}"

    @property
    def whole(self) -> bool:
        """Whether the record is all here: what is too large for the topic is left out."""
        return not self.error.keys() & {"value_bytes", "key_bytes"}

    def target(self, topic: str | None) -> str | None:
        """Return where it is sent back to: `topic`, or where it came from, if it says so."""
        return topic or self.error.get("topic")

    @property
    def source(self) -> str:
        """Where it came from."""
        error = self.error
        return (
            f"{error.get('topic', '?')}[{error.get('partition', '?')}]@{error.get('offset', '?')}"
        )


def read_letters(
    settings: KafkaSettings, *, stage: str | None = None, reason: str | None = None
) -> Iterator[Letter]:
    """Yield the committed letters of a topic up to its end at the time of the call, oldest first.

    Args:
        settings: where Kafka is, and the dead-letter topic.
        stage: only those of this stage, such as "parse".
        reason: only those of this class, such as "invalid-json".

    Raises:
        StreamUnavailable: Kafka does not answer, or there is no such topic.
    """
    topic = settings.dead_letters
    with translated(f"reading {topic}"):
        consumer = KafkaConsumer(
            **connect(settings),
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            enable_auto_commit=False,
        )
        try:
            numbers = consumer.partitions_for_topic(topic)
            if not numbers:
                raise StreamUnavailable(f"topic {topic} does not exist")
            partitions = [TopicPartition(topic, number) for number in sorted(numbers)]
            consumer.assign(partitions)
            ends = consumer.end_offsets(partitions)
            heard_at = time.monotonic()
            while any(consumer.position(tp) < ends[tp] for tp in partitions):
                polled = consumer.poll(timeout_ms=500)
                if not polled and time.monotonic() > heard_at + settings.request_timeout_s:
                    raise StreamUnavailable(f"nothing came for {settings.request_timeout_s:g} s")
                for rows in polled.values():
                    for row in rows:
                        letter = _letter(row)
                        if stage in {None, letter.error.get("stage")} and reason in {
                            None,
                            letter.error.get("class"),
                        }:
                            yield letter
                if polled:
                    heard_at = time.monotonic()
        finally:
            consumer.close()


def replay(
    settings: KafkaSettings,
    letters: Iterable[Letter],
    *,
    topic: str | None = None,
    report: Callable[[int], None] = lambda _: None,
) -> Counter[str]:
    """Send letters back and return how many went to each topic.

    A letter goes to the topic it came from, or to `topic`, with its key, value and own headers, and
    a header that counts how often it was sent back. Left out are those that do not tell the topic.

    Raises:
        StreamUnavailable: Kafka did not take them.
    """
    sent: Counter[str] = Counter()
    with translated("replaying"):
        producer = KafkaProducer(**connect(settings), acks="all")
        try:
            futures = []
            for letter in letters:
                if (target := letter.target(topic)) is None:
                    continue
                headers = [*letter.headers, (_REPLAYS, str(letter.replays + 1).encode())]
                futures.append(
                    producer.send(target, key=letter.key, value=letter.value, headers=headers)
                )
                sent[target] += 1
                if len(futures) == _FLUSH_EVERY:
                    _confirm(producer, futures)
                    report(sent.total())
            _confirm(producer, futures)
            report(sent.total())
        finally:
            producer.close(timeout=_TIMEOUT_S)
    return sent


def _letter(row: object) -> Letter:
    headers = [(name, value or b"") for name, value in row.headers]  # type: ignore[attr-defined]
    said = {
        name.removeprefix(_PREFIX): value.decode(errors="replace")
        for name, value in headers
        if name.startswith(_PREFIX)
    }
    replays = [value for name, value in headers if name == _REPLAYS]
    own = tuple(h for h in headers if not h[0].startswith(_PREFIX) and h[0] != _REPLAYS)
    return Letter(
        partition=row.partition,  # type: ignore[attr-defined]
        offset=row.offset,  # type: ignore[attr-defined]
        key=row.key,  # type: ignore[attr-defined]
        value=row.value,  # type: ignore[attr-defined]
        headers=own,
        error=said,
        replays=int(replays[-1]) if replays and replays[-1].isdigit() else 0,
    )


def _confirm(producer: KafkaProducer, futures: list) -> None:  # type: ignore[type-arg]
    producer.flush(timeout=_TIMEOUT_S)
    for future in futures:
        if future.exception is not None:
            raise future.exception
    futures.clear()
