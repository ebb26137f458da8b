"""The values that travel through the steps: records, events, predictions, dead letters.

Those of which there is one a text are named tuples: a frozen dataclass takes three times as long.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from consumer.laps import Lap

_OVERHEAD_BYTES = 64

Headers = tuple[tuple[str, bytes | None], ...]  # without a value: as if it were not there


def headers_bytes(headers: Headers) -> int:
    """Return how large the names and values are together."""
    return sum([len(name) + len(value or b"") for name, value in headers])


class RawName(str):
    """A name that is no UTF-8. It is written as the bytes it was read from, not as it looks."""

    __slots__ = ()

    def encode(self, encoding: str = "utf-8", errors: str = "surrogateescape") -> bytes:
        """Return the bytes that were read, whatever is asked for: kafka-python writes these."""
        del encoding, errors
        return super().encode("utf-8", "surrogateescape")


def header_name(raw: bytes) -> str:
    r"""Return a header's name, so that writing it gives the same bytes again.

    >>> header_name(b"source"), header_name(b"\xff").encode("utf-8")
    ('source', b'\xff')
    """
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return RawName(raw.decode("utf-8", "surrogateescape"))


def shown_name(name: str) -> str:
    r"""Return a name for people and for JSON, where bytes that are no text look like `\xff`."""
    return name.encode("utf-8", "surrogateescape").decode(errors="backslashreplace")


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a batch of records, or the rest of one, cannot be read."""

    last_offset: int
    error_class: str  # a short stable word for machines
    message: str


class Record(NamedTuple):
    """One Kafka record as it was read. Equal to what any other host can provide.

    With a fault it stands for all records from its offset to the fault's: its value is their bytes
    as Kafka keeps them. Its topic's id is known from the time it was read: a topic that was deleted
    and made anew has the same name, and other records.
    """

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    fault: Fault | None = None
    topic_id: str | None = None

    @property
    def position(self) -> str:
        """Where it stands, as shown in logs and errors: `reviews[3]@1289`, or `..@1289-1301`."""
        last = "" if self.fault is None else f"-{self.fault.last_offset}"
        return f"{self.topic}[{self.partition}]@{self.offset}{last}"

    @property
    def next_offset(self) -> int:
        """Where the record behind it stands."""
        return (self.offset if self.fault is None else self.fault.last_offset) + 1

    @property
    def size_bytes(self) -> int:
        """How much memory it takes, about."""
        parts = len(self.value or b"") + len(self.key or b"") + headers_bytes(self.headers)
        return parts + _OVERHEAD_BYTES

    @property
    def text_bytes(self) -> int:
        """How long its text is at most, and a little for the rest of a model's work."""
        return (len(self.value or b"") if self.fault is None else 0) + _OVERHEAD_BYTES


class Event(NamedTuple):
    """A record that was understood: a text of a domain."""

    record: Record
    id: str
    text: str
    domain: str
    timestamp_ms: int
    output: str  # the topic its prediction goes to
    cost_weight: float | None = None  # of its route; None: the policy's
    promise: float | None = None  # of its route's gate; the same


class Prediction(NamedTuple):
    """What the model said about one event."""

    event: Event
    label: int
    label_name: str
    score: float  # probability of `label` at the exit it left by
    exit: int
    layer: int
    exit_labels: tuple[int, ...]  # labels of exits 0..exit: what the policy learns from
    truncated: bool  # the text was longer than the model reads
    model: str  # fingerprint
    exit_scores: tuple[int, ...] = ()  # of exits 0..exit, thousandths; of a calibrated model
    exit_credits: tuple[int, ...] = ()  # what the step to each of them is worth; the same
    chosen_exit: int | None = None  # of a text of the holdout, or one that the gate let go sooner
    gate: int | None = None  # the threshold of the gate that it met, thousandths


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record that could not be used, and why."""

    record: Record
    stage: str
    error_class: str
    message: str
    omitted_bytes: tuple[tuple[str, int], ...] = ()  # parts that were too large to be kept


@dataclass(frozen=True, slots=True)
class BatchOutcome:
    """What became of a micro-batch: a prediction or a dead letter for every record."""

    predictions: tuple[Prediction, ...]
    dead_letters: tuple[DeadLetter, ...]
    epochs: Mapping[str, int] = field(default_factory=dict)  # of the counters decided with
    laps: Mapping[str, Lap] = field(default_factory=dict)  # the stages so far
