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
    blocks, at = [], _XERIAL_HEAD_BYTES
    while at < len(data):
        begin = at + 4
        at = begin + int.from_bytes(data[at:begin])
        blocks.append(bytes(cramjam.snappy.decompress_raw(data[begin:at])))
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
    data, at, count = raw(batch), private.batch_position(batch), batch.records_count
    this = f"this batch of {counted(len(data), 'byte')}"
    if batch.compression_type:
        data, at = unpacked(batch, data[at:]), 0
    base, began, ended = batch.base_offset, batch.first_timestamp, batch.max_timestamp
    appended = batch.timestamp_type == _LOG_APPEND_TIME
    for number in range(count):
        try:
            at, later, delta, key, value, headers = _record(data, at)
        except (ValueError, IndexError) as error:
            msg = f"record {number + 1} of {count} in {this} is damaged"
            raise Unreadable("invalid-record", msg, data[at:]) from error
        yield base + delta, ended if appended else began + later, key, value, headers


def _record(data: bytes, at: int) -> tuple[int, int, int, bytes | None, bytes | None, Headers]:
    """Return where the next record begins, and what this one says.

    That is its time and its offset after those of its batch, key, value, headers.

    Raises:
        ValueError, IndexError: it is damaged.
    """
    length, at = _varint(data, at)
    end = at + length
    if not at < end <= len(data):
        raise ValueError("no such length")
    at += 1  # attributes that no version has a use for
    later, at = _varint(data, at)
    delta, at = _varint(data, at)
    key, at = _bytes(data, at)
    value, at = _bytes(data, at)
    count, at = _varint(data, at)
    headers = []
    for _ in range(count):
        name, at = _bytes(data, at)
        content, at = _bytes(data, at)
        if name is None or at > end:
            raise ValueError("no such header")
        headers.append((header_name(name), content))
    if count < 0 or at != end:
        raise ValueError("no such record")
    return end, later, delta, key, value, tuple(headers)


def _bytes(data: bytes, at: int) -> tuple[bytes | None, int]:
    """Return bytes that begin with their length, and where they end."""
    length, at = _varint(data, at)
    if length < 0:
        return None, at
    return data[at : at + length], at + length


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Return a number and where it ends; one of two bytes or less quicker than kafka-python."""
    low = data[at]
    if low < _MORE:
        return low >> 1 ^ -(low & 1), at + 1
    high = data[at + 1]
    if high < _MORE:
        found = low & _MORE - 1 | high << 7
        return found >> 1 ^ -(found & 1), at + 2
    number, end = private.decode_varint(data, at)
    return int(number), int(end)
