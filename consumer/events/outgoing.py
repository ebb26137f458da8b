"""What is written for a micro-batch: predictions and dead letters, encoded and small enough."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from consumer import __version__
from consumer.errors import InvalidEvent, StoppedByError, blamed
from consumer.events.predictions import encode_prediction
from consumer.events.record import DeadLetter, Headers, headers_bytes
from consumer.events.trace_context import passed_on

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from consumer.events.record import BatchOutcome, Prediction

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]+")


class Outgoing(NamedTuple):
    """One record to be written."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers
    source_partition: int  # where it came from: keeps records without a key in order

    @property
    def content(self) -> bytes | None:
        """What is written as its value: kafka-python takes no record without key and value."""
        return b"" if self.value is None and self.key is None else self.value

    @property
    def size_bytes(self) -> int:
        """How large its parts are together."""
        return len(self.key or b"") + len(self.value or b"") + headers_bytes(self.headers)


def encoded(
    outcome: BatchOutcome,
    *,
    dead_letters: str,
    instance: str,
    kept: Callable[[DeadLetter], bool],
) -> tuple[BatchOutcome, list[Outgoing]]:
    """Return what is to be written, predictions first, and the outcome that it stands for.

    A prediction that cannot be encoded becomes the dead letter of its record.

    Args:
        outcome: what the step made of the batch.
        dead_letters: the topic of dead letters.
        instance: this worker, for the dead letters' headers.
        kept: whether a new dead letter is to be written.
    """
    predictions: list[Prediction] = []
    letters = list(outcome.dead_letters)
    outgoing: list[Outgoing] = []
    for prediction in outcome.predictions:
        record = prediction.event.record
        try:
            with blamed("produce"):
                value = encode_prediction(prediction)
        except InvalidEvent as error:
            letter = DeadLetter(record, error.stage, error.error_class, str(error))
            letters += filter(kept, [letter])
            continue
        predictions.append(prediction)
        target = prediction.event.output
        headers = passed_on(record.headers) if record.headers else ()
        outgoing.append(Outgoing(target, record.key, value, headers, record.partition))
    for letter in letters:
        record = letter.record
        headers = dead_letter_headers(letter, instance=instance)
        outgoing.append(Outgoing(dead_letters, record.key, record.value, headers, record.partition))
    return replace(outcome, predictions=tuple(predictions), dead_letters=tuple(letters)), outgoing


def dead_letter_headers(letter: DeadLetter, *, instance: str) -> Headers:
    """Return the record's own headers and, behind them, what went wrong and where.

    A header without a value counts as one that is not there: kafka-python cannot write it.
    """
    record = letter.record
    said = {
        "stage": letter.stage,
        "class": letter.error_class,
        "message": _CONTROL.sub(" ", letter.message)[:1024],
        "topic": record.topic,
        **({} if record.topic_id is None else {"topic_id": record.topic_id}),
        "partition": str(record.partition),
        "offset": str(record.offset),
        **({} if record.fault is None else {"last_offset": str(record.fault.last_offset)}),
        "timestamp": str(record.timestamp_ms),
        "instance": instance,
        "version": __version__,
    }
    said |= {f"{part}_bytes": str(size) for part, size in letter.omitted_bytes}
    added = tuple(
        (f"offramp.error.{name}", value.encode(errors="backslashreplace"))
        for name, value in said.items()
    )
    return tuple(header for header in record.headers if header[1] is not None) + added


def set_aside(
    outcome: BatchOutcome, refused: Collection[int], *, kept: Callable[[DeadLetter], bool]
) -> BatchOutcome:
    """Return the outcome with other dead letters for what was refused.

    Args:
        outcome: what was to be written.
        refused: indexes into predictions, then dead letters.
        kept: whether a new dead letter is to be written.

    Raises:
        StoppedByError: a dead letter is refused though nothing of the record is left in it.
    """
    predictions = outcome.predictions
    new = [_letter(p) for i, p in enumerate(predictions) if i in refused]
    letters = [
        _smaller(letter) if len(predictions) + i in refused else letter
        for i, letter in enumerate(outcome.dead_letters)
    ]
    return replace(
        outcome,
        predictions=tuple(p for i, p in enumerate(predictions) if i not in refused),
        dead_letters=(*letters, *filter(kept, new)),
    )


def _letter(prediction: Prediction) -> DeadLetter:
    message = f"the prediction and its key are too large for topic {prediction.event.output}"
    return DeadLetter(prediction.event.record, "produce", "prediction-too-large", message)


def _smaller(letter: DeadLetter) -> DeadLetter:
    """Leave out the value, then key and headers, and say how large they were."""
    record = letter.record
    omitted: tuple[tuple[str, int], ...]
    if record.value is not None:
        less, omitted = record._replace(value=None), (("value", len(record.value)),)
    elif record.key is not None or record.headers:
        headers = headers_bytes(record.headers)
        less = record._replace(key=None, headers=())
        omitted = (("key", len(record.key or b"")), ("headers", headers))
    else:
        raise StoppedByError(
            f"{record.position}: even an empty dead letter is too large for its topic: raise "
            "max.message.bytes there"
        )
    return replace(letter, record=less, omitted_bytes=letter.omitted_bytes + omitted)
