"""What is written for a micro-batch: its predictions and dead letters, encoded."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from consumer import __version__
from consumer.errors import InvalidEvent
from consumer.events.blame import blamed
from consumer.events.codec import dead_letter_headers, encode_prediction
from consumer.events.record import DeadLetter
from consumer.kafka.writing.writes import Outgoing

if TYPE_CHECKING:
    from collections.abc import Callable

    from consumer.events.record import Prediction
    from consumer.processor import BatchOutcome


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
            letter = DeadLetter(record, error.stage, error.reason, str(error))
            letters += filter(kept, [letter])
            continue
        predictions.append(prediction)
        target = prediction.event.output
        outgoing.append(Outgoing(target, record.key, value, (), record.partition))
    for letter in letters:
        record = letter.record
        headers = dead_letter_headers(letter, instance=instance, version=__version__)
        outgoing.append(Outgoing(dead_letters, record.key, record.value, headers, record.partition))
    return replace(outcome, predictions=tuple(predictions), dead_letters=tuple(letters)), outgoing
