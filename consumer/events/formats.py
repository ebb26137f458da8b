"""The forms of values that name their schema: Avro, JSON Schema and Protobuf.

Each form's libraries are imported when a worker uses that form.
"""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import orjson

from consumer.errors import InvalidEvent, ServiceUnavailable
from policy_state.wording import counted

_PROTOC_S = 30.0  # it takes a tenth of a second
_SHOWN_CHARACTERS = 500
_SHOWN_INDEXES = 8
_VARINT_BYTES = 5  # 32 bits
_MORE = 0x80  # in a byte of a number: another follows


Decode = Callable[[bytes], Any]  # a value to the fields of an event, or to what has none
Compile = Callable[[str], Decode]  # a schema's text, to what decodes by it


def _avro() -> Compile:
    import fastavro

    def compiled(schema: str) -> Decode:
        parsed = fastavro.parse_schema(orjson.loads(schema))

        def decode(value: bytes) -> object:
            stream = io.BytesIO(value)
            try:
                found = fastavro.schemaless_reader(stream, parsed, None)
            except Exception as error:
                msg = f"the value does not match its schema: {type(error).__name__}"
                raise InvalidEvent("parse", "invalid-avro", msg) from error
            if stream.tell() != len(value):
                msg = f"{counted(len(value) - stream.tell(), 'byte')} follow the end of its fields"
                raise InvalidEvent("parse", "invalid-avro", msg)
            return found

        return decode

    return compiled


def _json_schema() -> Compile:
    import jsonschema_rs

    def compiled(schema: str) -> Decode:
        validator = jsonschema_rs.validator_for(orjson.loads(schema))

        def decode(value: bytes) -> object:
            try:
                found = orjson.loads(value)
            except ValueError as error:
                raise InvalidEvent("parse", "invalid-json", str(error)) from error
            if not validator.is_valid(found):
                first = next(validator.iter_errors(found))
                where = ".".join(map(str, first.instance_path)) or "event"
                rule = "/".join(map(str, first.schema_path))
                msg = f"{where} breaks the rule {rule} of its schema"
                raise InvalidEvent("parse", "schema-mismatch", msg)
            return found

        return decode

    return compiled


def _protobuf() -> Compile:
    import grpc_tools  # noqa: F401  (has protoc, which runs in a process of its own)
    from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory

    def compiled(schema: str) -> Decode:
        files = descriptor_pb2.FileDescriptorSet.FromString(_protoc(schema)).file
        pool = descriptor_pool.DescriptorPool()
        for file in files:  # each behind those that it imports, the schema's own is the last
            pool.Add(file)

        @cache
        def message_class(indexes: tuple[int, ...]) -> type[Any]:
            names, inner = [files[-1].package], files[-1].message_type
            for index in indexes:
                names.append(inner[index].name)
                inner = inner[index].nested_type
            descriptor = pool.FindMessageTypeByName(".".join(filter(None, names)))
            found: type[Any] = message_factory.GetMessageClass(descriptor)
            return found

        def decode(value: bytes) -> object:
            indexes, begin = _message_indexes(value)
            try:
                message = message_class(indexes)
            except IndexError as error:
                msg = f"its schema has no message {indexes[:_SHOWN_INDEXES]}"
                raise InvalidEvent("parse", "invalid-framing", msg) from error
            try:
                found: object = json_format.MessageToDict(
                    message.FromString(value[begin:]),
                    preserving_proto_field_name=True,
                    descriptor_pool=pool,
                )
            except Exception as error:
                msg = f"the value does not match its schema: {type(error).__name__}"
                raise InvalidEvent("parse", "invalid-protobuf", msg) from error
            return found

        return decode

    return compiled


def _protoc(schema: str) -> bytes:
    """Return the descriptors of a .proto text and of what it imports, as protoc makes them.

    In a process of its own: whatever a schema does to protoc, the worker goes on.

    Raises:
        InvalidEvent: protoc does not take it.
        ServiceUnavailable: protoc cannot be run here now.
    """
    try:
        with TemporaryDirectory(prefix="offramp-") as folder:
            Path(folder, "schema.proto").write_text(schema, encoding="utf-8")
            command = [sys.executable, "-P", "-m", "grpc_tools.protoc", "--include_imports"]
            files = [f"-I{folder}", f"--descriptor_set_out={folder}/out", "schema.proto"]
            ended = subprocess.run(  # noqa: S603  (the text goes by file)
                [*command, *files],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=False,
                timeout=_PROTOC_S,
            )
            if ended.returncode == 0:
                return Path(folder, "out").read_bytes()
    except (OSError, subprocess.TimeoutExpired) as error:  # the machine's fault, not a schema's
        raise ServiceUnavailable(f"cannot run protoc: {error}") from error
    lines = ended.stderr.decode(errors="replace").replace(f"{folder}/", "").splitlines()
    said = " ".join(line for line in lines if line.startswith("schema.proto:"))  # no warnings
    msg = f"protoc exits with code {ended.returncode}: {said[:_SHOWN_CHARACTERS]}"
    raise InvalidEvent("parse", "invalid-schema", msg)


def _message_indexes(value: bytes) -> tuple[tuple[int, ...], int]:
    """Return which message of its schema a value is, and where its data begin.

    A number of indexes, then the indexes: into the messages of the file, then into those nested in
    that one, and so on. No indexes stand for the first message.

    >>> _message_indexes(bytes([0, 99])), _message_indexes(bytes([4, 2, 0, 99]))
    (((0,), 1), ((1, 0), 3))
    """
    count, at = _zigzag(value, 0)
    if not 0 <= count <= len(value):
        msg = f"{count} message indexes in {counted(len(value), 'byte')}"
        raise InvalidEvent("parse", "invalid-framing", msg)
    indexes = []
    for _ in range(count):
        index, at = _zigzag(value, at)
        if index < 0:
            msg = f"message index {index}, expected 0 or more"
            raise InvalidEvent("parse", "invalid-framing", msg)
        indexes.append(index)
    return tuple(indexes) or (0,), at


def _zigzag(value: bytes, at: int) -> tuple[int, int]:
    """Return the signed number that is written at a position, and the position behind it."""
    number = 0
    for index, byte in enumerate(value[at : at + _VARINT_BYTES]):
        number |= (byte & 0x7F) << 7 * index
        if byte < _MORE:
            return (number >> 1) ^ -(number & 1), at + index + 1
    msg = f"no message index at byte {at} of {len(value)}"
    raise InvalidEvent("parse", "invalid-framing", msg)


# How a form is called in the settings and by a registry, and what gives its compiler: that raises
# ImportError where the libraries for it are not installed.
FORMS: Final[Mapping[str, tuple[str, Callable[[], Compile]]]] = {
    "avro": ("AVRO", _avro),
    "json-schema": ("JSON", _json_schema),
    "protobuf": ("PROTOBUF", _protobuf),
}
