"""Batches of records as Kafka keeps them, decoded as far as they can be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from kafka.errors import UnsupportedCodecError

from consumer.errors import is_failure
from consumer.events.record import header_name
from consumer.kafka import private
from policy_state.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from consumer.events.record import Headers

Row = tuple[int, int, bytes | None, bytes | None, "Headers"]
"""Offset, timestamp in ms, key, value, headers."""

V2 = 2  # the format of batches since Kafka 0.11
_CODECS: Final = {1: "gzip", 2: "snappy", 3: "lz4", 4: "zstd"}
_SAMPLE: Final = b"a text to see whether this can be read " * 8
_PACKAGES: Final = {"gzip": "", "snappy": "python-snappy", "lz4": "lz4", "zstd": "zstandard"}
_LOG_APPEND_TIME = 1
_MORE = 0x80  # of a varint: a byte that is not its last one


class Unreadable(Exception):
    """The rest of a batch cannot be decoded; `rest` is what was read of it, as bytes."""

    def __init__(self, error_class: str, message: str, rest: bytes) -> None:
        super().__init__(message)
        self.error_class = error_class
        self.rest = rest


def raw(batch: Any) -> bytes:  # noqa: ANN401  (kafka-python is untyped)
    """Return a batch's bytes as they came; once it is iterated over, its records decompressed."""
    return bytes(private.batch_bytes(batch))


def decoded(batch: Any) -> Iterator[Row]:  # noqa: ANN401
    """Yield the records of a batch, in order.

    kafka-python's own way ends at a header's name that is no UTF-8.

    Raises:
        Unreadable: at the first record that cannot be decoded.
    """
    whole = raw(batch)
    this = f"this batch of {counted(len(whole), 'byte')}"
    codec = _CODECS.get(batch.compression_type, f"codec {batch.compression_type}")
    try:
        iter(batch)  # decompresses
    except UnsupportedCodecError as error:
        msg = f"{this} is compressed with {codec}, which is not installed"
        raise Unreadable("no-codec", msg, whole) from error
    except MemoryError:  # says nothing about the batch
        raise
    except BaseException as error:
        if not is_failure(error):
            raise
        kind = type(error).__name__
        msg = f"{this} cannot be decompressed as {codec}: {kind}"
        raise Unreadable("invalid-compression", msg, whole) from error
    data, place, count = raw(batch), private.batch_position(batch), batch.records_count
    base, began, ended = batch.base_offset, batch.first_timestamp, batch.max_timestamp
    appended = batch.timestamp_type == _LOG_APPEND_TIME
    for number in range(count):
        try:
            place, later, delta, key, value, headers = _record(data, place)
        except (ValueError, IndexError) as error:
            msg = f"record {number + 1} of {count} in {this} is damaged"
            raise Unreadable("invalid-record", msg, data[place:]) from error
        yield base + delta, ended if appended else began + later, key, value, headers


def _record(data: bytes, place: int) -> tuple[int, int, int, bytes | None, bytes | None, Headers]:
    """Return where the next record begins, and what this one says.

    That is its time and its offset after those of its batch, key, value, headers.

    Raises:
        ValueError, IndexError: it is damaged.
    """
    length, place = _varint(data, place)
    end = place + length
    if not place < end <= len(data):
        raise ValueError("no such length")
    place += 1  # attributes that no version has a use for
    later, place = _varint(data, place)
    delta, place = _varint(data, place)
    key, place = _bytes(data, place)
    value, place = _bytes(data, place)
    count, place = _varint(data, place)
    headers = []
    for _ in range(count):
        name, place = _bytes(data, place)
        content, place = _bytes(data, place)
        if name is None or place > end:
            raise ValueError("no such header")
        headers.append((header_name(name), content))
    if count < 0 or place != end:
        raise ValueError("no such record")
    return end, later, delta, key, value, tuple(headers)


def _bytes(data: bytes, place: int) -> tuple[bytes | None, int]:
    """Return bytes that begin with their length, and where they end."""
    length, place = _varint(data, place)
    if length < 0:
        return None, place
    return data[place : place + length], place + length


def _varint(data: bytes, place: int) -> tuple[int, int]:
    """Return a number and where it ends; one of two bytes or less quicker than kafka-python."""
    low = data[place]
    if low < _MORE:
        return low >> 1 ^ -(low & 1), place + 1
    high = data[place + 1]
    if high < _MORE:
        found = low & _MORE - 1 | high << 7
        return found >> 1 ^ -(found & 1), place + 2
    number, end = private.decode_varint(data, place)
    return int(number), int(end)


def codecs() -> Mapping[str, str]:
    """Return each codec's name, and what is wrong with it: nothing, as a rule."""
    return {name: _fault(name, package) for name, package in _PACKAGES.items()}


def _fault(name: str, package: str) -> str:
    if not getattr(private.codecs, f"has_{name}")():
        return f"{name} cannot be read: the package {package} is not installed"
    try:
        packed = getattr(private.codecs, f"{name}_encode")(_SAMPLE)
        if getattr(private.codecs, f"{name}_decode")(packed) != _SAMPLE:
            return f"{name} cannot be read: the package {package} gives other bytes back"
    except Exception as error:  # noqa: BLE001  (whatever a library of another version raises)
        return f"{name} cannot be read: the package {package} fails with {error!r}"
    return ""
