"""What becomes of predictions and dead letters that are larger than their topics take."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from consumer.errors import StoppedByError
from consumer.events.record import DeadLetter, headers_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from consumer.events.record import Prediction
    from consumer.processor import BatchOutcome


def set_aside(
    outcome: BatchOutcome, refused: Collection[int], *, kept: Callable[[DeadLetter], bool]
) -> BatchOutcome:
    """Return the outcome with other dead letters in place of what was refused.

    Args:
        outcome: what was to be written.
        refused: places in predictions, then dead letters.
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
    message = f"with its key the prediction is larger than {prediction.event.output} takes"
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
        raise StoppedByError(f"{record.position}: not even an empty dead letter may be written")
    return replace(letter, record=less, omitted_bytes=letter.omitted_bytes + omitted)
