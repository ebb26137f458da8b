"""What SIGTERM and SIGINT do to a process of ours; every process sets it as its first act.

Process 1 of a container has no default action for a signal: without a handler it goes on.
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
"""How long a worker takes to end that has not begun: it has nothing to finish."""
# A command that undoes something has this long, less than the ten seconds that `docker stop` waits.
_COMMAND_S: Final = 8.0


class Stopped(KeyboardInterrupt):
    """A signal asks this process to end: raised in the main thread, wherever that is."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.code = 128 + number
        """What a shell reports of a process that this signal has ended."""


class Heed:
    """The first signal raises `Stopped` in the main thread, the second ends the process at once.

    Foreign code may keep the exception, and a call into C may hold it up: where the process is
    still there after `within_s`, it ends then.
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
            code: what the process ends with after one signal; default: what shells report of it.
            within_s: how long it may take.
            also: further signals to heed, unless they were told to be ignored, as `nohup` does.
        """
        self._code = code
        self._within_s = within_s
        self.stopped: Stopped | None = None
        """What was raised."""
        self._numbers = (*HEEDED, *(n for n in also if signal.getsignal(n) is not signal.SIG_IGN))

    def begin(self) -> None:
        """Heed signals from now on; who calls it catches `Stopped`, of this call too."""
        _set(self._take, self._numbers)

    @property
    def code(self) -> int | None:
        """What the process is to end with; None where no signal has come."""
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
    """From now on the first signal sets `stop`, and the second ends the process at once."""
    _set(lambda number: _end(number) if stop.is_set() else stop.set())


def _set(act: Callable[[int], None], numbers: Sequence[int] = HEEDED) -> None:
    for number in numbers:
        signal.signal(number, lambda number, _: act(number))


def _end(number: int) -> None:
    os._exit(128 + number)
