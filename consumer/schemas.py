"""Values that name their schema: Avro and JSON Schema through a schema registry."""

from __future__ import annotations

import io
import time
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import orjson
from pydantic import BaseModel, ConfigDict, Field

from consumer.errors import InvalidEvent, InvalidSettings, ServiceRefused
from consumer.http_calls import fetch_json
from consumer.secret_files import read_secret

if TYPE_CHECKING:
    from collections.abc import Callable

_FRAME_BYTES = 5  # a zero, then the schema's number
_KEPT = 1000
_UNKNOWN_S = 60.0  # for how long a schema that is not there is not asked for again
_NOT_FOUND = 404


class RegistrySettings(BaseModel):
    """Where the schemas of Avro and JSON Schema values are."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: Annotated[str, Field(pattern=r"^https?://[^@]+$")] | None = None
    username: str | None = None
    password_file: Path | None = None
    ca_file: Path | None = Field(None, description="certificates to trust; default: the system's")
    timeout_s: Annotated[float, Field(gt=0)] = 5.0


class Decode(Protocol):
    """Turns a value into the fields of an event."""

    def __call__(self, value: bytes) -> dict[str, Any]:
        """Return the fields."""


class Registry:
    """Reads framed values: the byte 0, the number of a schema in four bytes, and the data.

    Schemas do not change, so each is fetched once.
    """

    def __init__(self, settings: RegistrySettings, *, form: str) -> None:
        """Prepare; nothing is fetched yet.

        Args:
            settings: where the registry is.
            form: "avro" or "json-schema".

        Raises:
            InvalidSettings: the libraries for it are not installed.
        """
        self._settings = settings
        self._compile = {"avro": _avro, "json-schema": _json_schema}[form]()
        self._kind = {"avro": "AVRO", "json-schema": "JSON"}[form]
        self._decoders: OrderedDict[int, tuple[Decode | InvalidEvent, float]] = OrderedDict()

    def __call__(self, value: bytes) -> dict[str, Any]:
        """Return the fields of a value.

        Raises:
            InvalidEvent: it is not framed, its schema is not there, or does not fit.
            ServiceUnavailable: the registry does not answer: try again.
            ServiceRefused: the registry does not let us in.
        """
        if len(value) < _FRAME_BYTES or value[0] != 0:
            msg = f"{len(value)} bytes that do not begin with 0 and a schema's number"
            raise InvalidEvent("parse", "invalid-framing", msg)
        found = self._decoder(int.from_bytes(value[1:_FRAME_BYTES]))
        if isinstance(found, InvalidEvent):
            raise found
        return found(value[_FRAME_BYTES:])

    def _decoder(self, number: int) -> Decode | InvalidEvent:
        now = time.monotonic()
        if number in self._decoders and self._decoders[number][1] > now:
            self._decoders.move_to_end(number)
            return self._decoders[number][0]
        try:
            found, until = self._fetch(number), float("inf")
        except InvalidEvent as error:
            found, until = error, now + _UNKNOWN_S
        self._decoders[number] = found, until
        while len(self._decoders) > _KEPT:
            self._decoders.popitem(last=False)
        return found

    def _fetch(self, number: int) -> Decode | InvalidEvent:
        settings = self._settings
        login = None
        if settings.username is not None and settings.password_file is not None:
            login = settings.username, read_secret(settings.password_file)
        url = f"{str(settings.url).rstrip('/')}/schemas/ids/{number}"
        try:
            found = fetch_json(
                url, timeout_s=settings.timeout_s, login=login, ca_file=settings.ca_file
            )
        except ServiceRefused as error:
            if error.code != _NOT_FOUND:
                raise
            raise InvalidEvent("parse", "unknown-schema", f"no schema {number}") from error
        kind = found.get("schemaType", "AVRO")
        if kind != self._kind:
            msg = f"schema {number} is {kind}, expected {self._kind}"
            raise InvalidEvent("parse", "invalid-schema", msg)
        if found.get("references"):
            msg = f"schema {number} refers to others, which is not supported"
            raise InvalidEvent("parse", "invalid-schema", msg)
        try:
            return self._compile(orjson.loads(found["schema"]))
        except Exception as error:
            msg = f"schema {number} cannot be used: {type(error).__name__}"
            raise InvalidEvent("parse", "invalid-schema", msg) from error


def _avro() -> Callable[[Any], Decode]:
    try:
        import fastavro
    except ImportError as error:
        raise _not_installed("avro") from error

    def compiled(schema: Any) -> Decode:  # noqa: ANN401  (JSON)
        parsed = fastavro.parse_schema(schema)

        def decode(value: bytes) -> dict[str, Any]:
            stream = io.BytesIO(value)
            try:
                found = fastavro.schemaless_reader(stream, parsed, None)
            except Exception as error:
                msg = f"does not fit its schema: {type(error).__name__}"
                raise InvalidEvent("parse", "invalid-avro", msg) from error
            if stream.tell() != len(value):
                msg = f"{len(value) - stream.tell()} bytes behind what its schema says"
                raise InvalidEvent("parse", "invalid-avro", msg)
            if not isinstance(found, dict):
                msg = f"is a {type(found).__name__}, expected a record"
                raise InvalidEvent("parse", "invalid-avro", msg)
            return found

        return decode

    return compiled


def _json_schema() -> Callable[[Any], Decode]:
    try:
        import jsonschema_rs
    except ImportError as error:
        raise _not_installed("json-schema") from error

    def compiled(schema: Any) -> Decode:  # noqa: ANN401  (JSON)
        validator = jsonschema_rs.validator_for(schema)

        def decode(value: bytes) -> dict[str, Any]:
            try:
                found = orjson.loads(value)
            except ValueError as error:
                raise InvalidEvent("parse", "invalid-json", str(error)) from error
            if not validator.is_valid(found):
                first = next(validator.iter_errors(found))
                where = ".".join(map(str, first.instance_path)) or "event"
                rule = "/".join(map(str, first.schema_path))
                msg = f"{where}: against {rule} of its schema"
                raise InvalidEvent("parse", "schema-mismatch", msg)
            if not isinstance(found, dict):
                msg = f"is a {type(found).__name__}, expected an object"
                raise InvalidEvent("parse", "invalid-json", msg)
            return found

        return decode

    return compiled


def _not_installed(form: str) -> InvalidSettings:
    return InvalidSettings(f"kafka.format is {form}: run pip install 'offramp[registry]'")
