"""Values that name their schema, and the registry that has the schemas."""

from __future__ import annotations

import time
from collections import OrderedDict
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

from pydantic import BaseModel, Field, ValidationError

from consumer.errors import InvalidEvent, InvalidSettings, ServiceRefused, ServiceUnavailable
from consumer.events.formats import FORMS, Decode
from consumer.extras import needs
from consumer.http import fetch_json, read_secret
from consumer.section import Section
from policy_state.wording import counted

_FRAME_BYTES = 5  # a zero, then the schema's number
_KEPT = 1000
_UNKNOWN_S = 60.0  # for how long a schema that is given up is not asked for again
_SLOW_S = 1.0  # an answer that takes longer to fail to come ..
_AWAY_S = 5.0  # .. is not waited for again in this time, by whatever topic
_NOT_FOUND = 404
_BROUGHT: Final = "google/protobuf/"  # imports that protoc has

_Answer = TypeVar("_Answer")


class RegistrySettings(Section):
    """Where the schemas of values are that name one."""

    url: Annotated[str, Field(pattern=r"^https?://[^@]+$")] | None = Field(
        None, description="needed for avro, json-schema and protobuf"
    )
    username: str | None = Field(None, description="user name, if the registry asks for one")
    password_file: Path | None = Field(None, description="read at every request")
    ca_file: Path | None = Field(
        None, description="certificates to trust; default: those of the system"
    )
    timeout_s: Annotated[float, Field(gt=0, le=86_400)] = Field(
        5.0, description="longest wait for an answer"
    )
    missing_s: Annotated[float, Field(ge=0, le=86_400)] = Field(
        600.0,
        description="how long texts wait for a missing schema before they are dead letters",
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
        try:
            self._compile = compiler()
        except ImportError as error:
            said = needs(f"kafka.format {form}", error) or str(error)
            raise InvalidSettings(said) from error
        self._decoders: OrderedDict[int, tuple[Decode | InvalidEvent, float]] = OrderedDict()
        self._missing: OrderedDict[int, float] = OrderedDict()  # schemas not there, since when
        self._away: tuple[float, str] = (0.0, "")  # until when, and what was said

    def __call__(self, value: bytes) -> dict[str, Any]:
        """Return the fields of a value.

        Raises:
            InvalidEvent: it is not framed, its schema is not there, or does not fit.
            ServiceUnavailable: the registry does not answer, or has not had the schema for a short
                time: try again.
            ServiceRefused: the registry does not let us in.
        """
        if len(value) < _FRAME_BYTES or value[0] != 0:
            msg = f"{counted(len(value), 'byte')} do not begin with 0 and the number of a schema"
            raise InvalidEvent("parse", "invalid-framing", msg)
        decode = self._decoder(int.from_bytes(value[1:_FRAME_BYTES]))
        if isinstance(decode, InvalidEvent):
            raise decode
        fields = decode(value[_FRAME_BYTES:])
        if not isinstance(fields, dict):
            msg = f"the value is a {type(fields).__name__}, expected names with values"
            raise InvalidEvent("parse", f"invalid-{self._kind.lower()}", msg)
        return fields

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
            raise InvalidSettings(f"{self._settings.url} has {has} schemas, but not {self._kind}")

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

    def _told(self, path: str) -> dict[str, Any]:
        """Ask for a schema; where an answer has just been waited for in vain, fail at once."""
        begun = time.monotonic()
        until, said = self._away
        if begun < until:
            raise ServiceUnavailable(said)
        try:
            return self._ask(path, expected=dict)
        except ServiceUnavailable as error:
            ended = time.monotonic()
            if ended - begun > _SLOW_S:
                self._away = ended + _AWAY_S, str(error)
            raise

    def _check_patience(self, number: int, error: ServiceRefused) -> None:
        """Raise where a schema is not there, but has not been waited for long enough."""
        now, limit_s = time.monotonic(), self._settings.missing_s
        since = self._missing.setdefault(number, now)
        while len(self._missing) > _KEPT:
            self._missing.popitem(last=False)
        if now - since < limit_s:
            msg = f"{error}; its texts become dead letters after {limit_s:g} s (missing_s)"
            raise ServiceUnavailable(msg) from error

    def _fetch(self, number: int) -> Decode | InvalidEvent:
        path = f"schemas/ids/{number}"
        try:
            answer = self._told(path)
        except ServiceRefused as error:
            if error.code != _NOT_FOUND:
                raise
            self._check_patience(number, error)
            raise InvalidEvent(
                "parse", "unknown-schema", f"the registry has no schema {number}"
            ) from error
        self._missing.pop(number, None)
        try:
            found = _Registered.model_validate(answer)
        except ValidationError as error:  # not the registry, or not in order: no record's fault
            msg = f"{self._settings.url}: {path} does not answer with a schema"
            raise ServiceUnavailable(msg) from error
        if found.kind != self._kind:
            msg = f"schema {number} is {found.kind}, expected {self._kind}"
            raise InvalidEvent("parse", "invalid-schema", msg)
        if any(not other.name.startswith(_BROUGHT) for other in found.references or ()):
            msg = f"schema {number} refers to other schemas, which is not supported"
            raise InvalidEvent("parse", "invalid-schema", msg)
        try:
            return self._compile(found.text)
        except (ServiceUnavailable, OSError, MemoryError):
            raise
        except Exception as error:
            said = error if isinstance(error, InvalidEvent) else type(error).__name__
            msg = f"schema {number} cannot be used: {said}"
            raise InvalidEvent("parse", "invalid-schema", msg) from error
