"""Predictions as they are read again: out of a topic or a file that anybody may have written to."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from policy_state.domains import domain_key
from policy_state.errors import InvalidDomain

_LARGEST_PARTITION: Final = 2**31 - 1
_LARGEST_OFFSET: Final = 2**63 - 2
_LARGEST_LABEL: Final = 2**31 - 1

_Label = Annotated[int, Field(ge=0, le=_LARGEST_LABEL)]


def _domain(name: str) -> str:
    try:
        return domain_key(name)
    except InvalidDomain as error:
        raise ValueError(str(error)) from error


class Source(BaseModel):
    """Where the record stood that a prediction is for."""

    model_config = ConfigDict(frozen=True)

    topic: str
    partition: Annotated[int, Field(ge=0, le=_LARGEST_PARTITION)]
    offset: Annotated[int, Field(ge=0, le=_LARGEST_OFFSET)]
    topic_id: str | None = None


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


def read_prediction(value: bytes | None, *, fingerprint: str, exits: int) -> ReadPrediction | None:
    """Return a prediction of one model; None for whatever else the bytes are."""
    try:
        found = ReadPrediction.model_validate_json(value or b"")
    except ValidationError:
        return None
    ours = found.model == fingerprint and len(found.exit_labels) <= exits
    return found if ours else None
