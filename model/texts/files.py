"""Files of lines, packed or not: opened, unpacked and decoded, one line at a time.

Needs neither torch nor a stream, so that every file of a user is read here.
"""

from __future__ import annotations

import codecs
import contextlib
import gzip
import io
import shlex
import stat
import sys
import zlib
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from model.errors import InvalidData
from model.texts.formats import PACKED, STDIN, shown

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from zstandard import ZstdDecompressionObj

LINE_MOST_BYTES: Final = 16 << 20
"""The longest line that is read. Nothing behind it in a file is held in memory meanwhile."""

_ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
_GZIP_MAGIC: Final = b"\x1f\x8b"
_CHUNK_BYTES: Final = 8 << 10  # packed bytes unpacked at once: a bomb can make half a GB of them


def look(path: Path) -> None:
    """Return, unless there is no file of that name, or none that may be looked at.

    Nothing is opened: what a pipe holds can be read only once.

    Raises:
        InvalidData: naming it.
    """
    if path == STDIN:
        return
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:  # a ValueError: no file can have such a name
        said = error.strerror if isinstance(error, OSError) else error
        raise InvalidData(f"{path}: cannot be read: {said}") from error
    if stat.S_ISDIR(mode):
        raise InvalidData(f"{path}: cannot be read: Is a directory")


def read_lines(path: Path) -> Iterator[str]:
    r"""Yield the lines of a UTF-8 file with their ends; `-` is stdin.

    Lines end with `\n` only. A byte order mark is left out. What is packed with gzip or zstd is
    found by its first bytes, whatever its name is, on stdin too.

    Raises:
        InvalidData: the file cannot be read or unpacked, or a line is too long or no UTF-8.
    """
    name = shown(path)
    try:
        with contextlib.ExitStack() as stack:
            raw = _stdin() if path == STDIN else stack.enter_context(path.open("rb"))
            file = _unpacked(raw, path)
            number = 0
            while line := file.readline(LINE_MOST_BYTES + 1):
                number += 1
                yield _decoded(line, name, number)
    except OSError as error:
        raise InvalidData(f"{name}: cannot be read: {error.strerror or error}") from error
    except (zlib.error, EOFError) as error:
        raise InvalidData(f"{name}: cannot be unpacked: {error}") from error


def _stdin() -> io.BufferedReader:
    if sys.stdin is None:
        raise InvalidData("stdin: is closed; name a file instead")
    raw: Any = sys.stdin.buffer  # a test may have put something plainer there
    return raw if isinstance(raw, io.BufferedReader) else io.BufferedReader(raw)


def _unpacked(file: io.BufferedReader, path: Path) -> BinaryIO:
    """Return what a file holds once it is unpacked.

    Raises:
        InvalidData: its name says that it is packed, and it is not.
    """
    begin = file.peek(len(_ZSTD_MAGIC))
    if begin.startswith(_GZIP_MAGIC):
        return gzip.GzipFile(fileobj=file)  # type: ignore[return-value]
    if begin.startswith(_ZSTD_MAGIC):
        return io.BufferedReader(_ZstdFile(file))
    if path.suffix.lower() in PACKED:
        kind = {".gz": "gzip", ".zst": "zstd"}[path.suffix.lower()]
        raise InvalidData(f"{path}: cannot be unpacked: its first bytes are not those of {kind}")
    return file


class _ZstdFile(io.RawIOBase):
    """Unpacks zstd frames; the library's own reader takes a file that was cut off for whole."""

    def __init__(self, packed: BinaryIO) -> None:
        import zstandard  # here, so that other files are read without it

        self._zstd = zstandard
        self._packed = packed
        self._frame: ZstdDecompressionObj | None = None
        self._left = b""  # packed bytes behind the frame that has ended
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, target: memoryview) -> int:  # type: ignore[override]
        while not self._ready:
            packed = self._left or self._packed.read(_CHUNK_BYTES)
            self._left = b""
            if not packed:
                if self._frame is not None:
                    raise EOFError("it ends in the middle; a part of it is missing")
                return 0
            frame = self._frame or self._zstd.ZstdDecompressor().decompressobj()
            try:
                self._ready = memoryview(frame.decompress(packed))
            except self._zstd.ZstdError as error:
                raise zlib.error(str(error)) from error  # as gzip says it
            self._left = frame.unused_data
            self._frame = None if frame.eof else frame
        count = min(len(target), len(self._ready))
        target[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count


def _decoded(line: bytes, name: str, number: int) -> str:
    place = f"{name}:{number}"
    if len(line) > LINE_MOST_BYTES:
        raise InvalidData(f"{place}: the line is longer than {LINE_MOST_BYTES:,} bytes")
    if number == 1:
        if line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise InvalidData(f"{place}: the file is UTF-16; {_cure(name, 'UTF-16')}")
        line = line.removeprefix(codecs.BOM_UTF8)
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise InvalidData(
            f"{place}: byte 0x{line[error.start]:02x} at column {error.start + 1} is not UTF-8; "
            f"if the file is Latin-1, {_cure(name, 'LATIN1')}"
        ) from error
    null = text.find("\0")
    if null >= 0:
        raise InvalidData(f"{place}: a null character at column {null + 1}: the file is not text")
    return text


def _cure(name: str, encoding: str) -> str:
    file = "FILE" if name == "stdin" else shlex.quote(name)
    return f"convert it: iconv -f {encoding} -t UTF-8 {file} > NEW"
