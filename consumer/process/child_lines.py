"""Passes on what child processes write, each line with the child's name before it."""

from __future__ import annotations

import os
import selectors
from typing import IO, TYPE_CHECKING, Final

if TYPE_CHECKING:
    from consumer.process.shown_lines import ShownLines

_READ_BYTES: Final = 65_536  # a line that is longer is passed on in pieces


class ChildLines:
    """Reads the pipes of all children in one thread, so that lines never mix."""

    def __init__(self, shown: ShownLines) -> None:
        """Pass on what is read to `shown`."""
        self._shown = shown
        self._pipes = selectors.DefaultSelector()
        self._begun: dict[int, bytes] = {}  # by pipe: the beginning of a line

    def add(self, name: str, pipe: IO[bytes]) -> None:
        """Read a pipe from now on, until its writers are gone."""
        os.set_blocking(pipe.fileno(), False)
        self._pipes.register(pipe, selectors.EVENT_READ, (name, pipe))

    def pass_on(self, timeout_s: float) -> bool:
        """Pass on what comes within a time; say whether anything has come."""
        ready = self._pipes.select(timeout_s)
        for key, _ in ready:
            name, pipe = key.data
            data = os.read(key.fd, _READ_BYTES)
            *lines, rest = (self._begun.pop(key.fd, b"") + data).split(b"\n")
            if rest and (not data or len(rest) >= _READ_BYTES):
                lines, rest = [*lines, rest], b""
            if data:
                self._begun[key.fd] = rest
            else:
                self._pipes.unregister(key.fileobj)
                pipe.close()
            prefix = f"{name} | ".encode()
            self._shown.add(b"".join(prefix + line + b"\n" for line in lines))
        self._shown.flush()
        return bool(ready)
