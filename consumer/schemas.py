"""Values that name their schema, and the registry that has the schemas."""

from __future__ import annotations

import time
from collections import OrderedDict
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from consumer.errors import InvalidEvent, InvalidSettings, ServiceRefused, ServiceUnavailable
from consumer.http_calls import fetch_json
from consumer.schema_forms import FORMS, Decode
from consumer.secret_files import read_secret

_FRAME_BYTES = 5  # a zero, then the schema's number
_KEPT = 1000
_UNKNOWN_S = 60.0  # for how long a schema that is not there is not asked for again
_NOT_FOUND = 404
_BROUGHT: Final = "google/protobuf/"  # imports that protoc has

_Answer = TypeVar("_Answer")


class RegistrySettings(BaseModel):
    """Where the schemas of values are that name one."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    url: Annotated[str, Field(pattern=r"^https?://[^@]+$")] | None = Field(
        None, description="needed for avro, json-schema and protobuf"
    )
    username: str | None = Field(None, description="if it asks for one")
    password_file: Path | None = Field(None, description="read at every request")
    ca_file: Path | None = Field(None, description="certificates to trust; default: the system's")
    timeout_s: Annotated[float, Field(gt=0, le=86_400)] = Field(
        5.0, description="longest wait for an answer"
    )


class _Reference(BaseModel):
    name: str


class _Registered(BaseModel):
    """What a registry answers about a schema."""

    text: str = Field(alias="schema")
    kind: str = Field("AVRO", alias="schemaType")
    references: list[_Reference] | None = None


class Registry:
    """Reads framed values: the byte 0, the number of a schema in four bytes, and the data.

    Schemas do not change, so each is fetched once.
    """

    def __init__(self, settings: RegistrySettings, *, form: str) -> None:
        """Prepare; nothing is fetched yet.

        Args:
            settings: where the registry is.
            form: one of FORMS.

        Raises:
            InvalidSettings: the libraries for it are not installed.
        """
        self._settings = settings
        self._kind, compiler = FORMS[form]
        self._compile = compiler()
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

    def try_out(self) -> None:
        """Return if the registry answers, and has schemas of this form.

        Raises:
            ServiceUnavailable: it does not answer.
            ServiceRefused: it does not let us in, or is no registry.
            InvalidSettings: it has no schemas of this form.
        """
        kinds = self._ask("schemas/types", expected=list)
        if self._kind not in kinds:
            has = ", ".join(map(str, kinds))
            raise InvalidSettings(f"{self._settings.url}: has {has} schemas, no {self._kind}")

    def _ask(self, path: str, *, expected: type[_Answer]) -> _Answer:
        settings = self._settings
        login = None
        if settings.username is not None and settings.password_file is not None:
            login = settings.username, read_secret(settings.password_file)
        return fetch_json(
            f"{str(settings.url).rstrip('/')}/{path}",
            expected=expected,
            timeout_s=settings.timeout_s,
            login=login,
            ca_file=settings.ca_file,
        )

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
        path = f"schemas/ids/{number}"
        try:
            answer = self._ask(path, expected=dict)
        except ServiceRefused as error:
            if error.code != _NOT_FOUND:
                raise
            raise InvalidEvent("parse", "unknown-schema", f"no schema {number}") from error
        try:
            found = _Registered.model_validate(answer)
        except ValidationError as error:  # not the registry, or not in order: no record's fault
            msg = f"{self._settings.url}: {path} answers with no schema"
            raise ServiceUnavailable(msg) from error
        if found.kind != self._kind:
            msg = f"schema {number} is {found.kind}, expected {self._kind}"
            raise InvalidEvent("parse", "invalid-schema", msg)
        if any(not other.name.startswith(_BROUGHT) for other in found.references or ()):
            msg = f"schema {number} refers to others, which is not supported"
            raise InvalidEvent("parse", "invalid-schema", msg)
        try:
            return self._compile(found.text)
        except (ServiceUnavailable, OSError, MemoryError):
            raise
        except Exception as error:
            said = error if isinstance(error, InvalidEvent) else type(error).__name__
            msg = f"schema {number} cannot be used: {said}"
            raise InvalidEvent("parse", "invalid-schema", msg) from error
