"""Predictions as they go out and as they are read again: the wire, version 1."""

from __future__ import annotations

from itertools import compress, pairwise
from typing import TYPE_CHECKING, Annotated, Any, Final

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from policy_state.domains import domain_key
from policy_state.errors import InvalidDomain

if TYPE_CHECKING:
    from collections.abc import Mapping

    from consumer.events.record import Prediction

VERSION: Final = 1
_INT32_MAX: Final = 2**31 - 1
_OFFSET_MAX: Final = 2**63 - 2


def encode_prediction(prediction: Prediction) -> bytes:
    """Return the prediction as JSON, fields as in docs/events.md."""
    event = prediction.event
    record = event.record
    body: dict[str, Any] = {
        "version": VERSION,
        "id": event.id,
        "domain": event.domain,
        "label": prediction.label,
        "label_name": prediction.label_name,
        "score": round(prediction.score, 6),
        "exit": prediction.exit,
        "layer": prediction.layer,
        "exit_labels": prediction.exit_labels,
        "model": prediction.model,
        "source": {"topic": record.topic, "partition": record.partition, "offset": record.offset},
        "timestamp": event.timestamp_ms,
    }
    if record.topic_id is not None:
        body["source"]["topic_id"] = record.topic_id
    if prediction.exit_credits:
        body["exit_scores"] = prediction.exit_scores
        body["exit_credits"] = prediction.exit_credits
    if prediction.chosen_exit is not None:
        body["chosen_exit"] = prediction.chosen_exit
    if prediction.gate is not None:
        body["gate"] = prediction.gate
    if prediction.truncated:
        body["truncated"] = True
    return orjson.dumps(body)


def _domain(name: str) -> str:
    try:
        return domain_key(name)
    except InvalidDomain as error:
        raise ValueError(str(error)) from error


class Source(BaseModel):
    """Where the record stood that a prediction is for."""

    model_config = ConfigDict(frozen=True)

    topic: str
    partition: Annotated[int, Field(ge=0, le=_INT32_MAX)]
    offset: Annotated[int, Field(ge=0, le=_OFFSET_MAX)]
    topic_id: str | None = None


_Label = Annotated[int, Field(ge=0, le=_INT32_MAX)]
_Exit = Annotated[int, Field(ge=0, le=_INT32_MAX)]
_Thousandths = Annotated[int, Field(ge=0, le=1000)]


class ReadPrediction(BaseModel):
    """What is read of a prediction again; see docs/events.md."""

    model_config = ConfigDict(frozen=True)

    domain: Annotated[str, AfterValidator(_domain)]
    exit_labels: Annotated[tuple[_Label, ...], Field(min_length=1)]
    model: str
    id: str | int | None = None
    label: _Label | None = None
    label_name: str | None = None
    source: Source | None = None
    exit_scores: tuple[_Thousandths, ...] = ()
    exit_credits: tuple[_Thousandths, ...] = ()
    chosen_exit: _Exit | None = None
    gate: _Thousandths | None = None


def read_prediction(value: bytes | None, *, fingerprint: str, exits: int) -> ReadPrediction | None:
    """Return a prediction of one model; None for whatever else the bytes are."""
    return prediction_of_any(value, {fingerprint: exits})


def prediction_of_any(value: bytes | None, exits: Mapping[str, int]) -> ReadPrediction | None:
    """Return a prediction of some models, named by their fingerprints; None for anything else."""
    try:
        found = ReadPrediction.model_validate_json(value or b"")
    except ValidationError:
        return None
    most = exits.get(found.model, 0)
    ours = len(found.exit_labels) <= most
    return found if ours and _credits_fit(found) and _chosen_fits(found, most) else None


def _credits_fit(found: ReadPrediction) -> bool:
    """Return whether there is one for each exit, and 0 for a label that stayed the same."""
    labels, earned = found.exit_labels, found.exit_credits
    if not earned and not found.exit_scores:
        return True
    stayed = [True, *(before == label for before, label in pairwise(labels))]
    as_long = len(earned) == len(found.exit_scores) == len(labels)
    return as_long and not any(compress(earned, stayed))


def _chosen_fits(found: ReadPrediction, exits: int) -> bool:
    """Return whether the text is of the holdout, was let go by the gate, or neither."""
    chosen, ran = found.chosen_exit, len(found.exit_labels)
    if chosen is None:
        return True
    return ran <= chosen < exits if found.gate is not None else chosen < ran == exits
