"""What a worker reports: to its own board, or through a pipe to that of a supervisor."""

from __future__ import annotations

import contextlib
import os
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import orjson

from consumer.metrics.tally import Spread, Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from consumer.metrics.catalogue import Key

_READ_BYTES: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Turn:
    """The main loop has made a turn; this is how things are."""

    trouble: str  # why the worker is not ready; empty if it is
    gauges: Mapping[Key, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Report:
    """What was counted since the last report, and, from the main loop, how things are."""

    added: Tally
    turn: Turn | None = None


class Reporter:
    """Sends reports of one worker. Any thread may use it."""

    def __init__(self, send: Callable[[Report], bool] | None) -> None:
        """Take what sends a report, and returns False if it cannot be sent now.

        Without it nobody wants reports.
        """
        self._send = send
        self._lock = threading.Lock()
        self._unsent = Tally()

    @property
    def wanted(self) -> bool:
        """Whether anybody wants reports."""
        return self._send is not None

    def add(self, tally: Tally) -> None:
        """Report what was counted; what cannot be sent now goes with the next report.

        The tally must not change afterwards.
        """
        self._report(tally, None)

    def starting(self, trouble: str) -> None:
        """Report what a worker does that has not started yet."""
        self.turn(trouble, {}, Tally())

    def turn(self, trouble: str, gauges: Mapping[Key, float], tally: Tally) -> None:
        """Report a turn of the main loop."""
        self._report(tally, Turn(trouble, gauges))

    def _report(self, tally: Tally, turn: Turn | None) -> None:
        if self._send is None:
            return
        with self._lock:
            if self._unsent:
                self._unsent.merge(tally)
            else:
                self._unsent = tally  # the caller has no use for it any more
            if self._send(Report(self._unsent, turn)):
                self._unsent = Tally()


class ReportWriter:
    """The worker's end of a pipe to its supervisor. It never waits for a reader.

    What was written is there for the supervisor even if the worker is killed right after.
    """

    def __init__(self, fd: int) -> None:
        """Take the descriptor of a pipe."""
        os.set_blocking(fd, False)
        self._fd = fd
        self._left = b""

    def send(self, report: Report) -> bool:
        """Write a report, one line of JSON; return False if the pipe is full."""
        self._write()
        if self._left:
            return False
        self._left = _encoded(report)
        self._write()
        return True

    def _write(self) -> None:
        try:
            while self._left:
                self._left = self._left[os.write(self._fd, self._left) :]
        except BlockingIOError:
            return
        except OSError:  # the supervisor is gone, and this worker is about to be told
            self._left = b""


class ReportReader:
    """The supervisor's end of the pipe."""

    def __init__(self) -> None:
        """Open a pipe; `writer_fd` is for the worker."""
        self._fd, self.writer_fd = os.pipe()
        os.set_blocking(self._fd, False)
        self._begun = b""

    def started(self) -> None:
        """Close this process's copy of the worker's end."""
        os.close(self.writer_fd)

    def read(self) -> list[Report]:
        """Return the reports that have come in."""
        data = self._begun
        with contextlib.suppress(BlockingIOError):
            while more := os.read(self._fd, _READ_BYTES):
                data += more
        *lines, self._begun = data.split(b"\n")
        return [_decoded(line) for line in lines]

    def close(self) -> None:
        """Close the pipe."""
        os.close(self._fd)


def _encoded(report: Report) -> bytes:
    said: dict[str, Any] = {
        "sums": list(report.added.sums.items()),
        "spreads": [
            (key, list(spread.counts.items()), spread.total)
            for key, spread in report.added.spreads.items()
        ],
    }
    if report.turn is not None:
        said["trouble"] = report.turn.trouble
        said["gauges"] = list(report.turn.gauges.items())
    return orjson.dumps(said) + b"\n"


def _decoded(line: bytes) -> Report:
    said = orjson.loads(line)
    added = Tally(
        {_key(key): amount for key, amount in said["sums"]},
        {_key(key): Spread(dict(counts), total) for key, counts, total in said["spreads"]},
    )
    if "trouble" not in said:
        return Report(added)
    gauges = {_key(key): value for key, value in said["gauges"]}
    return Report(added, Turn(said["trouble"], gauges))


def _key(key: tuple[str, list[str]]) -> Key:
    name, labels = key
    return name, tuple(labels)
