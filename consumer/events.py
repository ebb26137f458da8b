"""Bytes in, bytes out: input events, predictions and dead letters on the wire. Version 1."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

import orjson
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, Strict, ValidationError

from consumer.errors import InvalidEvent
from consumer.records import DeadLetter, Headers, Prediction, Record

if TYPE_CHECKING:
    from consumer.schema_forms import Decode

VERSION = 1
Format = Literal["auto", "json", "text", "avro", "json-schema", "protobuf"]
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]+")


class Fields(BaseModel):
    """Where the fields of an event stand in a value: names, or paths such as `payload.text`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: str = Field("text", description="where the text is: a name, or a path as `payload.text`")
    id: str = Field("id", description="where the id is")
    domain: str = Field("domain", description="where the domain is, for `field:domain`")
    timestamp: str = Field("timestamp", description="where the time is")
    label: str = Field("label", description="where the truth is")


FIELDS = Fields()


class EventBody(BaseModel):
    """An input event: `text`, and what else it may say about itself. Other fields are ignored.

    `label` is the truth where it is known. It is checked, never used for learning.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    text: Annotated[str, Field(min_length=1)]
    id: Annotated[str, Field(min_length=1, max_length=512)] | int | None = None
    domain: str | None = None
    timestamp: Annotated[int, Field(ge=0)] | Annotated[AwareDatetime, Strict()] | None = None
    label: int | str | None = None

    def field(self, path: str) -> object:
        """Return a field of the event, also one that this version does not know.

        A path such as `meta.source` leads into objects; None where it ends before that.
        """
        first, *rest = path.split(".")
        fields = self.__dict__ if first in self.__dict__ else self.model_extra or {}
        found: object = fields.get(first)
        for name in rest:
            found = found.get(name) if isinstance(found, dict) else None
        return found


def parse(
    record: Record, *, form: Format, fields: Fields = FIELDS, decode: Decode | None = None
) -> EventBody:
    """Read a record's value as JSON, as plain UTF-8 text, or with `decode`.

    Under "auto" a value that starts with `{` is JSON and anything else is the text itself.

    Raises:
        InvalidEvent: the value is missing, not UTF-8, not JSON, or lacks a usable text.
        Exception: what else `decode` raises, where it is not the value's fault.
    """
    value = record.value
    if value is None:
        raise InvalidEvent("parse", "null-value", "the record has no value")
    if decode is not None:
        body = _pick(decode(value), fields)
    elif form == "json" or (form == "auto" and value.lstrip()[:1] == b"{"):
        body = _parse_json(value) if fields == FIELDS else _pick(_loads(value), fields)
    else:
        try:
            body = EventBody.model_construct(text=value.decode())
        except UnicodeDecodeError as error:
            msg = f"not UTF-8: byte {value[error.start]:#04x} at position {error.start}"
            raise InvalidEvent("parse", "invalid-utf8", msg) from error
    if not body.text.strip():
        raise InvalidEvent("parse", "empty-text", "text is empty")
    return body


def _parse_json(value: bytes) -> EventBody:
    try:
        return EventBody.model_validate_json(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"]))
        if first["type"] == "json_invalid":
            raise InvalidEvent("parse", "invalid-json", first["msg"]) from error
        reason = "missing-text" if where == "text" else "invalid-field"
        msg = f"{where or 'event'}: {first['msg']}, got {_shown(first['input'])}"
        raise InvalidEvent("parse", reason, msg) from error


def _loads(value: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(value)
    except ValueError as error:
        raise InvalidEvent("parse", "invalid-json", str(error)) from error
    if not isinstance(found, dict):
        raise InvalidEvent("parse", "invalid-field", f"event: {_shown(found)}, expected an object")
    return found


def _pick(found: dict[str, Any], fields: Fields) -> EventBody:
    """Return the event whose fields stand where `fields` says."""
    picked = {name: _at(found, path) for name, path in fields.model_dump().items()}
    whole = {name: value for name, value in found.items() if name not in picked}
    whole |= {name: value for name, value in picked.items() if value is not None}
    try:
        value = orjson.dumps(whole, default=lambda _: None)  # bytes and the like are no fields
    except TypeError as error:  # too deep, or text that is none
        raise InvalidEvent("parse", "invalid-field", f"event: {error}") from error
    return _parse_json(value)


def _at(value: object, path: str) -> object:
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _shown(value: object) -> str:
    """Return what a value was without its content, which may be a customer's text."""
    if isinstance(value, str | bytes | list | dict):
        return f"{type(value).__name__} of length {len(value)}"
    return "null" if value is None else type(value).__name__


def timestamp_ms(body: EventBody, record: Record) -> int:
    """Return the event's own time in milliseconds since 1970, else the record's."""
    if isinstance(body.timestamp, datetime):
        return int(body.timestamp.astimezone(UTC).timestamp() * 1000)
    return record.timestamp_ms if body.timestamp is None else body.timestamp


def encode_prediction(prediction: Prediction, *, topic_id: str | None = None) -> bytes:
    """Return the prediction as JSON, fields as in docs/events.md.

    Args:
        prediction: what to write.
        topic_id: of the source topic, if known; one that is deleted and made anew has another.
    """
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
    if topic_id is not None:
        body["source"]["topic_id"] = topic_id
    if prediction.truncated:
        body["truncated"] = True
    return orjson.dumps(body)


def dead_letter_headers(letter: DeadLetter, *, instance: str, version: str) -> Headers:
    """Return the record's own headers and, behind them, what went wrong and where."""
    record = letter.record
    said = {
        "stage": letter.stage,
        "class": letter.reason,
        "message": _CONTROL.sub(" ", letter.message)[:1024],
        "topic": record.topic,
        "partition": str(record.partition),
        "offset": str(record.offset),
        "timestamp": str(record.timestamp_ms),
        "instance": instance,
        "version": version,
    }
    said |= {f"{part}_bytes": str(size) for part, size in letter.omitted_bytes}
    added = tuple((f"offramp.error.{name}", value.encode()) for name, value in said.items())
    return record.headers + added
