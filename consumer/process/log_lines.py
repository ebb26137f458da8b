"""Log lines on stderr: those of a worker, and those of child processes under a supervisor."""

from __future__ import annotations

import logging
import os
import select
import selectors
import sys
import threading
import time
from typing import IO, TYPE_CHECKING, Final, Literal

from consumer.process.json_line import JsonLine
from policy_state.wording import counted

if TYPE_CHECKING:
    from collections.abc import Callable

    from _typeshed import SupportsWrite

FORM: Final = "%(asctime)s %(levelname)s %(name)s %(message)s"
_EVERY_S: Final = 60.0
_CLOSED: Final = "Metadata refresh: failed Cancelled"  # kafka-python, of a client that we closed
_KEPT: Final = 1_000  # different lines; beyond this number the filter starts over
_READ_BYTES: Final = 65_536  # longer lines are passed on in pieces
_HELD_BYTES: Final = 1 << 20
_AT_ONCE_BYTES: Final = select.PIPE_BUF  # a pipe that takes anything takes this much at once
_TICK_S: Final = 0.05


class OncePerMinute(logging.Filter):
    """Lets the same line of another package through once a minute, and all lines of ours.

    kafka-python logs about 40 times a second that a topic does not exist.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._lock = threading.Lock()
        self._said: dict[
            tuple[str, str], tuple[float, int]
        ] = {}  # when it was logged, and how often it came since

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to write a line; it then also says how many like it were left out."""
        if record.name.split(".")[0] == "offramp":
            return True
        if record.getMessage() == _CLOSED:
            return False
        line, now = (record.name, record.getMessage()), self._clock()
        with self._lock:
            since, left_out = self._said.get(line, (now - _EVERY_S, 0))
            if now - since < _EVERY_S:
                self._said[line] = (since, left_out + 1)
                return False
            if len(self._said) >= _KEPT:
                self._said.clear()
            self._said[line] = (now, 0)
        if left_out:
            record.msg, record.args = (
                f"{line[1]} (and {counted(left_out, 'time')} more since the last)",
                (),
            )
        return True


def log_to_stderr(
    level: str,
    *,
    form: Literal["text", "json"] = "text",
    instance: str = "",
    stream: SupportsWrite[str] | None = None,
) -> None:
    """Log our own lines from a level on, and the warnings of other packages.

    Args:
        level: debug, info, warning or error.
        form: what a line looks like.
        instance: the worker, which each line of JSON names.
        stream: by default stderr.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLine(instance) if form == "json" else logging.Formatter(FORM))
    handler.addFilter(OncePerMinute())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("offramp").setLevel(level.upper())


class ShownLines:
    """Holds lines that cannot be written yet; lines beyond the limit are left out and counted.

    If nobody reads stderr, its pipe fills up, and a process that writes to it would stand still
    and a whole fleet with it. Can be the stream of a `logging.StreamHandler`.
    """

    def __init__(self, fd: int | None = None) -> None:
        """Write to a file descriptor, by default to that of stderr."""
        self._fd = sys.stderr.fileno() if fd is None else fd
        self._held = bytearray()
        self._left_out = 0

    def write(self, text: str) -> None:
        """Take a text that the supervisor itself logs."""
        self.add(text.encode(errors="backslashreplace"))

    def add(self, lines: bytes) -> None:
        """Take whole lines, if there is room for them."""
        if self._left_out or len(self._held) + len(lines) > _HELD_BYTES:
            self._left_out += lines.count(b"\n")
        else:
            self._held += lines
        self.flush()

    def flush(self) -> None:
        """Write what can be written at once."""
        while self._held and select.select([], [self._fd], [], 0)[1]:
            try:
                written = os.write(self._fd, self._held[:_AT_ONCE_BYTES])
            except BlockingIOError:  # somebody else has set the terminal to non-blocking
                return
            except OSError:  # nobody will read it
                written = len(self._held)
            del self._held[:written]
            if self._left_out and not self._held:
                lines = counted(self._left_out, "line")
                said = f"supervisor | {lines} left out because nobody read them\n"
                self._held += said.encode()
                self._left_out = 0

    def finish(self, timeout_s: float) -> None:
        """Write the rest, as far as somebody reads it within a time."""
        deadline = time.monotonic() + timeout_s
        self.flush()
        while self._held and time.monotonic() < deadline:
            time.sleep(_TICK_S)
            self.flush()


class ChildLines:
    """Reads the pipes of all children in one thread, so that lines never mix."""

    def __init__(self, shown: ShownLines, *, named: bool = True) -> None:
        """Pass on what is read to `shown`; with `named` each line begins with who wrote it."""
        self._shown = shown
        self._named = named
        self._pipes = selectors.DefaultSelector()
        self._begun: dict[int, bytes] = {}  # by pipe: a line that is not complete yet

    def add(self, name: str, pipe: IO[bytes]) -> None:
        """Read a pipe from now on, until its writers have closed it."""
        os.set_blocking(pipe.fileno(), False)
        self._pipes.register(pipe, selectors.EVENT_READ, (name, pipe))

    def pass_on(self, timeout_s: float) -> bool:
        """Pass on what comes within a time; return whether anything came."""
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
            prefix = f"{name} | ".encode() if self._named else b""
            self._shown.add(b"".join(prefix + line + b"\n" for line in lines))
        self._shown.flush()
        return bool(ready)
