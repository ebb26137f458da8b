"""The dead-letter topic: reading it, and sending what was corrected back to where it came from."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from consumer.errors import TopicMissing
from consumer.kafka.reading.reader import TopicReader
from consumer.kafka.writing.topic_writer import TopicWriter

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Mapping

    from consumer.events.record import Record
    from consumer.settings.sections import KafkaSettings

CLASSES: Final = frozenset(
    [
        "wrong-checksum",
        "no-codec",
        "invalid-compression",
        "invalid-record",
        "null-value",
        "invalid-utf8",
        "unclear-format",
        "invalid-json",
        "missing-text",
        "empty-text",
        "invalid-field",
        "no-route",
        "invalid-domain",
        "invalid-framing",
        "unknown-schema",
        "invalid-schema",
        "invalid-avro",
        "invalid-protobuf",
        "schema-mismatch",
        "model-failed",
        "prediction-too-large",
        "unexpected-error",
    ]
)
"""All that workers write; docs/events.md tells what each means."""

_PREFIX = "offramp.error."
_REPLAYS = "offramp.replays"
_COUNT_DIGITS = 9


@dataclass(frozen=True, slots=True)
class ReadLetter:
    """A dead letter as it is read again: anybody may have written to its topic."""

    partition: int  # of the dead-letter topic
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]  # the record's own
    error: dict[str, str]  # what Offramp added: stage, class, message, topic, partition, ...
    replays: int  # how often it was sent back before

    @property
    def position(self) -> str:
        """Where it stands in the dead-letter topic, as `show` takes it."""
        return f"{self.partition}@{self.offset}"

    @property
    def batch(self) -> bool:
        """Whether it stands for a batch that could not be read: its value is no record's."""
        return "last_offset" in self.error

    def hindrance(self, topic: str | None) -> str | None:
        """Return why it cannot be sent back to `topic`, or to where it came from, if it cannot."""
        if self.batch:
            return "they hold a batch that could not be read, not a record"
        if self.error.keys() & {"value_bytes", "key_bytes"}:
            return "they were too large to be kept whole"
        if self.target(topic) is None:
            return "they do not say where they came from; name a topic with --to"
        return None

    def target(self, topic: str | None) -> str | None:
        """Return where it is sent back to: `topic`, or where it came from, if it says so."""
        return topic or self.error.get("topic")

    @property
    def source(self) -> str:
        """Where it came from."""
        error = self.error
        last = f"-{error['last_offset']}" if self.batch else ""
        topic, partition = error.get("topic", "?"), error.get("partition", "?")
        return f"{topic}[{partition}]@{error.get('offset', '?')}{last}"


def read_letters(
    settings: KafkaSettings, *, stage: str | None = None, error_class: str | None = None
) -> Generator[ReadLetter]:
    """Yield the committed letters of a topic up to its end at the time of the call, oldest first.

    Args:
        settings: where Kafka is, and the dead-letter topic.
        stage: only those of this stage, such as "parse".
        error_class: only those of this class, such as "invalid-json".

    Raises:
        StreamUnavailable: Kafka does not answer, or there is no such topic.
    """
    topic = settings.dead_letters
    try:
        reader = TopicReader(settings, [topic])
    except TopicMissing as error:
        said = f"topic {topic} does not exist; create it with `offramp topics init`"
        raise TopicMissing(said) from error
    with reader:
        for record in reader.records(wait=False):
            letter = _letter(record)
            if stage in {None, letter.error.get("stage")} and error_class in {
                None,
                letter.error.get("class"),
            }:
                yield letter


@dataclass(frozen=True, slots=True)
class Recent:
    """Dead letters since some time."""

    classes: Mapping[str, int]  # how many there are of each class of error
    more: bool  # whether there may be others, beyond those that were read

    @property
    def letters(self) -> int:
        """How many were read."""
        return sum(self.classes.values())


def recent_letters(settings: KafkaSettings, *, since_ms: int, limit: int) -> Recent:
    """Return the committed letters since a time, by class; reads these alone, and at most `limit`.

    Raises:
        TopicMissing: there is no such topic.
        StreamUnavailable: Kafka does not answer.
    """
    classes: Counter[str] = Counter()
    with TopicReader(settings, [settings.dead_letters]) as reader:
        for _, record in reader.between(reader.since(since_ms)):
            if record.timestamp_ms < since_ms:  # whoever writes may say any time
                continue
            if classes.total() == limit:
                return Recent(dict(classes), more=True)
            classes[_letter(record).error.get("class", "unknown")] += 1
    return Recent(dict(classes), more=False)


def replay(
    settings: KafkaSettings,
    letters: Iterable[ReadLetter],
    *,
    sent: Counter[str],
    topic: str | None = None,
) -> None:
    """Send letters back and count how many went to each topic.

    A letter goes to the topic it came from, or to `topic`, with its key, value and own headers, and
    a header that counts how often it was sent back. Left out are those that do not tell the topic.

    Args:
        settings: where Kafka is.
        letters: to be sent.
        sent: counts what was written, right also where this raises.
        topic: where all of them go; else each goes to where it came from.

    Raises:
        InvalidSettings: a letter came from what is no topic.
        StreamUnavailable: a topic does not exist, or Kafka did not take them.
    """
    writer = TopicWriter(settings)
    try:
        with writer:
            for letter in letters:
                if (target := letter.target(topic)) is None:
                    continue
                headers = [*letter.headers, (_REPLAYS, str(letter.replays + 1).encode())]
                writer.send(
                    target,
                    letter.value,
                    origin=f"the letter at {letter.position}",
                    key=letter.key,
                    headers=headers,
                )
    finally:
        sent.update(writer.written)


def _letter(record: Record) -> ReadLetter:
    headers = [(name, value or b"") for name, value in record.headers]
    said = {
        name.removeprefix(_PREFIX): value.decode(errors="replace")
        for name, value in headers
        if name.startswith(_PREFIX)
    }
    replays = [value for name, value in headers if name == _REPLAYS]
    own = tuple(h for h in headers if not h[0].startswith(_PREFIX) and h[0] != _REPLAYS)
    return ReadLetter(
        partition=record.partition,
        offset=record.offset,
        key=record.key,
        value=record.value,
        headers=own,
        error=said,
        replays=_count(replays[-1]) if replays else 0,
    )


def _count(digits: bytes) -> int:
    """Return how often a letter was sent back; 0 where its header says no number that can be."""
    return int(digits) if digits.isdigit() and len(digits) <= _COUNT_DIGITS else 0
