"""Batches of records as Kafka keeps them, decoded as far as they can be."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Any, Final

import cramjam

from consumer.errors import is_failure
from consumer.events.record import header_name
from consumer.kafka import private
from policy_state.wording import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from consumer.events.record import Headers

Row = tuple[int, int, bytes | None, bytes | None, "Headers"]
"""Offset, timestamp in ms, key, value, headers."""

V2 = 2  # the format of batches since Kafka 0.11
_LOG_APPEND_TIME = 1
_MORE = 0x80  # of a varint: a byte that is not its last one
_XERIAL: Final = b"\x82SNAPPY\0"  # what Java begins snappy with; then come blocks
_XERIAL_HEAD_BYTES: Final = 16


def _snappy(data: bytes) -> bytes:
    if not data.startswith(_XERIAL):
        return bytes(cramjam.snappy.decompress_raw(data))
    blocks, place = [], _XERIAL_HEAD_BYTES
    while place < len(data):
        begin = place + 4
        place = begin + int.from_bytes(data[place:begin])
        blocks.append(bytes(cramjam.snappy.decompress_raw(data[begin:place])))
    return b"".join(blocks)


CODECS: Final[dict[int, tuple[str, Callable[[bytes], Any]]]] = {
    1: ("gzip", gzip.decompress),
    2: ("snappy", _snappy),
    3: ("lz4", cramjam.lz4.decompress),
    4: ("zstd", cramjam.zstd.decompress),
}
"""How a topic's `compression.type` is called and undone, by its number in a batch."""


class Unreadable(Exception):
    """The rest of a batch cannot be decoded; `rest` is what was read of it, as bytes."""

    def __init__(self, error_class: str, message: str, rest: bytes) -> None:
        super().__init__(message)
        self.error_class = error_class
        self.rest = rest


def raw(batch: Any) -> bytes:  # noqa: ANN401  (kafka-python is untyped)
    """Return a batch's bytes as they came."""
    return bytes(private.batch_bytes(batch))


def unpacked(batch: Any, packed: bytes) -> bytes:  # noqa: ANN401
    """Return what the compressed part of a batch holds.

    Raises:
        Unreadable: its codec is not known, or the bytes are not what it writes.
    """
    whole, number = raw(batch), batch.compression_type
    this = f"this batch of {counted(len(whole), 'byte')}"
    if number not in CODECS:
        msg = f"{this} is compressed with codec {number}, which is not known here"
        raise Unreadable("no-codec", msg, whole)
    name, decompress = CODECS[number]
    try:
        return bytes(decompress(packed))
    except MemoryError:  # says nothing about the batch
        raise
    except BaseException as error:
        if not is_failure(error):
            raise
        msg = f"{this} cannot be decompressed as {name}: {type(error).__name__}"
        raise Unreadable("invalid-compression", msg, whole) from error


def decoded(batch: Any) -> Iterator[Row]:  # noqa: ANN401
    """Yield the records of a batch, in order.

    kafka-python's own way ends at a header's name that is no UTF-8.

    Raises:
        Unreadable: at the first record that cannot be decoded.
    """
    data, place, count = raw(batch), private.batch_position(batch), batch.records_count
    this = f"this batch of {counted(len(data), 'byte')}"
    if batch.compression_type:
        data, place = unpacked(batch, data[place:]), 0
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
