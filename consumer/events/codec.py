"""Events as they come in: the wire, version 1. Predictions are in `predictions.py`."""

from __future__ import annotations

import contextlib
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal

import orjson
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError, from_json

from consumer.errors import InvalidEvent
from consumer.section import Section, complaints

if TYPE_CHECKING:
    from collections.abc import Callable

    from consumer.events.formats import Decode
    from consumer.events.record import Record

Format = Literal["auto", "json", "text", "avro", "json-schema", "protobuf"]
_BOM = b"\xef\xbb\xbf"
_BARE = re.compile(rb"\s*(?:null|true|false|-?[0-9][-+.0-9Ee]*)\s*")  # JSON, too
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST_MS = 2**63 - 1  # Kafka's own times have 64 bits, and so have readers' integers
_ID_DIGITS = 512
_EXPECTED = {
    "id": f"expected 1 to {_ID_DIGITS} characters, or an integer of at most as many digits",
    "event": "expected a JSON object",
    "text": "expected a string",
}
_KINDS = {
    "bool": "a boolean",
    "bytes": "bytes",
    "dict": "an object",
    "float": "a number",
    "int": "an integer",
    "list": "a list",
    "str": "a string",
}


class Fields(Section):
    """Where the fields of an event stand in a value: names, or paths such as `payload.text`."""

    text: str = Field(
        "text", description="where the text is: a name, or a path such as `payload.text`"
    )
    id: str = Field("id", description="where the id is")
    domain: str = Field("domain", description="where the domain is, for `field:domain`")
    timestamp: str = Field("timestamp", description="where the time is")
    label: str = Field("label", description="where the true label is")


FIELDS = Fields()


def _milliseconds(value: Any) -> object:  # noqa: ANN401  (whatever stands in the field)
    """Return a time as milliseconds since 1970; the last year ISO 8601 can write is 9999."""
    with contextlib.suppress(ValueError, TypeError):  # no time, no zone, nothing to compare
        if isinstance(value, str) and not (value.isascii() and value.isdigit()):
            return (datetime.fromisoformat(value.upper()) - _EPOCH) // timedelta(milliseconds=1)
        number = int(value) if isinstance(value, str) else value
        if 0 <= number <= _LATEST_MS and not isinstance(value, bool):
            return number
    msg = "expected milliseconds since 1970, 0..{latest}, or ISO 8601 with a zone"
    raise PydanticCustomError("time", msg, {"latest": _LATEST_MS})


class EventBody(BaseModel):
    """An input event: `text`, and what else it may say about itself. Other fields are ignored.

    `label` is the truth where it is known. It is checked, never used for learning.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    text: Annotated[str, Field(min_length=1)]
    id: (
        Annotated[str, Field(min_length=1, max_length=_ID_DIGITS)]
        | Annotated[int, Field(gt=-(10**_ID_DIGITS), lt=10**_ID_DIGITS)]
        | None
    ) = None
    domain: str | None = None
    timestamp: Annotated[int, BeforeValidator(_milliseconds)] | None = None
    label: int | str | None = None

    def field(self, path: str) -> object:
        """Return a field of the event, also one that this version does not know.

        A path such as `meta.source` leads into objects; None where it ends before that.
        """
        return _at(self.__dict__ | (self.model_extra or {}), path)


def parse(
    record: Record, *, form: Format, fields: Fields = FIELDS, decode: Decode | None = None
) -> EventBody:
    """Read a record's value as JSON, as plain UTF-8 text, or with `decode`.

    Under "auto" a value that starts with `{` is JSON, and what cannot be taken for anything else
    is the text itself: a list, a string, a number in JSON, or a binary value is refused.

    Raises:
        InvalidEvent: the value is missing, not UTF-8, not JSON, or lacks a usable text.
        Exception: what else `decode` raises, where it is not the value's fault.
    """
    value = record.value
    if value is None:
        raise InvalidEvent("parse", "null-value", "the record has no value")
    if decode is not None:
        body = _parse_decoded(decode(value), fields)
    else:
        value = value.removeprefix(_BOM)
        if form == "json" or (form == "auto" and _is_object(value)):
            body = _parse_json(value, fields)
        else:
            body = _parse_text(value)
    if not body.text.strip():
        raise InvalidEvent("parse", "empty-text", "text is empty")
    return body


def _is_object(value: bytes) -> bool:
    """Say whether a value is to be read as a JSON object, else as text.

    Raises:
        InvalidEvent: it is neither for certain.
    """
    begin = value.lstrip()[:1]
    if begin == b"{":
        return True
    if begin and begin in b'["':
        looks = f"begins with {begin.decode()}, as JSON can"
    elif _BARE.fullmatch(value):
        looks = "is a number, true, false or null of JSON"
    elif begin and begin < b" ":
        looks = f"begins with byte {begin[0]:#04x}, as binary values do"
    elif (zero := value.find(0)) >= 0:
        looks = f"has a zero byte at position {zero}, as binary values and UTF-16 do"
    else:
        return False
    msg = f"the value {looks}, so it may not be text: set kafka.format to the format of the topic"
    raise InvalidEvent("parse", "unclear-format", msg)


def _parse_text(value: bytes) -> EventBody:
    try:
        return EventBody.model_construct(text=value.decode())
    except UnicodeDecodeError as error:
        msg = f"not UTF-8: byte {value[error.start]:#04x} at position {error.start}"
        raise InvalidEvent("parse", "invalid-utf8", msg) from error


def _parse_json(value: bytes, fields: Fields) -> EventBody:
    if fields == FIELDS:
        return _checked(lambda: EventBody.model_validate_json(value))
    try:
        found = from_json(value)
    except ValueError as error:
        raise InvalidEvent("parse", "invalid-json", f"not JSON: {error}") from error
    return _checked(lambda: EventBody.model_validate(_picked(found, fields)))


def _parse_decoded(found: dict[str, Any], fields: Fields) -> EventBody:
    """Return the event of fields that need not be JSON's: times and the like become text."""
    try:
        value = orjson.dumps(_picked(found, fields), default=lambda _: None)  # bytes are no fields
    except TypeError as error:  # too deep, too large a number, or text that is none
        raise InvalidEvent("parse", "invalid-field", f"event: {error}") from error
    return _checked(lambda: EventBody.model_validate_json(value))


def _checked(read: Callable[[], EventBody]) -> EventBody:
    """Return the event, or say what is wrong with it without telling its content."""
    try:
        return read()
    except ValidationError as error:
        first = complaints(error, EventBody)[0]
        if first.kind == "json_invalid":
            raise InvalidEvent("parse", "invalid-json", first.said) from error
        where = first.path[0] if first.path else "event"
        missing = where == "text" and (first.kind == "missing" or first.value is None)
        error_class = "missing-text" if missing else "invalid-field"
        if where == "text" and first.value == "":
            error_class = "empty-text"
        shown = " " if first.kind == "missing" else f" is {_shown(first.value)}, "
        expected = first.said if first.kind == "missing" else _EXPECTED.get(where, first.said)
        msg = f"{where}{shown}{expected}"
        raise InvalidEvent("parse", error_class, msg) from error


def _picked(found: Any, fields: Fields) -> Any:  # noqa: ANN401  (what JSON or a schema makes of it)
    """Return the fields of an event where `fields` says that they stand."""
    if fields == FIELDS or not isinstance(found, dict):
        return found
    picked = {name: _at(found, path) for name, path in fields.model_dump().items()}
    whole = {name: value for name, value in found.items() if name not in picked}
    return whole | {name: value for name, value in picked.items() if value is not None}


def _at(value: object, path: str) -> object:
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _shown(value: object) -> str:
    """Return what a value was without its content, which may be a customer's text."""
    if isinstance(value, str | bytes | list | dict):
        return f"{_KINDS[type(value).__name__]} of length {len(value)}"
    return "null" if value is None else _KINDS.get(type(value).__name__, type(value).__name__)
