"""What SIGTERM and SIGINT do to our processes; each process sets this first of all.

Process 1 of a container has no default action for a signal: without a handler it ignores it.
"""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

HEEDED: Final = (signal.SIGTERM, signal.SIGINT)

START_S: Final = 1.0
"""How long a worker that has not started takes to end: it has nothing to finish."""
# For a command that undoes something; less than the ten seconds that `docker stop` waits.
_COMMAND_S: Final = 8.0


class Stopped(KeyboardInterrupt):
    """A signal asks this process to end; raised in the main thread, whatever it is doing."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.code = 128 + number
        """The exit code that a shell reports for a process that this signal ended."""


class Heed:
    """The first signal raises `Stopped` in the main thread, the second ends the process at once.

    Foreign code may catch the exception, and a call into C may delay it. If the process still runs
    after `within_s`, it is ended then.
    """

    def __init__(
        self,
        *,
        code: int | None = None,
        within_s: float = _COMMAND_S,
        also: Sequence[signal.Signals] = (),
    ) -> None:
        """Heed nothing before `begin`.

        Args:
            code: the exit code after one signal; by default the one that shells report.
            within_s: how long the process may take to end.
            also: further signals to heed, unless they are ignored already, as under `nohup`.
        """
        self._code = code
        self._within_s = within_s
        self.stopped: Stopped | None = None
        """The exception that was raised."""
        self._numbers = (*HEEDED, *(n for n in also if signal.getsignal(n) is not signal.SIG_IGN))

    def begin(self) -> None:
        """Heed signals from now on; the caller catches `Stopped`, which this call may raise too."""
        _set(self._take, self._numbers)

    @property
    def code(self) -> int | None:
        """The exit code to end with; None if no signal has come."""
        if self.stopped is None:
            return None
        return self.stopped.code if self._code is None else self._code

    def _take(self, number: int) -> None:
        self.stopped = Stopped(number)
        _set(_end, self._numbers)
        timer = threading.Timer(self._within_s, os._exit, [self.code])
        timer.daemon = True
        timer.start()
        raise self.stopped


def finish_on_signal(stop: threading.Event) -> None:
    """Let the first signal from now on set `stop`, and the second end the process at once."""
    _set(lambda number: _end(number) if stop.is_set() else stop.set())


def _set(act: Callable[[int], None], numbers: Sequence[int] = HEEDED) -> None:
    for number in numbers:
        signal.signal(number, lambda number, _: act(number))


def _end(number: int) -> None:
    os._exit(128 + number)
