"""Ends a process whose main loop does not turn in time, whatever it hangs in."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import socket
import sys
import threading
import time
from typing import TYPE_CHECKING, Self

from consumer.errors import ConsumerError
from consumer.kafka.client import bounded

if TYPE_CHECKING:
    from types import FrameType

log = logging.getLogger("offramp.watchdog")

_TICK_S = 0.5
_SAYING_S = 2.0  # the log itself may be what hangs
_OURS = {"consumer", "model", "offramp", "policy_state"}
_STOPPING = {signal.SIGTERM, signal.SIGINT}


class Watchdog:
    """Watches the main loop from another thread, so that nothing the loop calls can evade a limit.

    The operating system tells it of signals, because a main thread that hangs in a library written
    in C runs no handler.
    """

    def __init__(self, *, stuck_s: float, drain_s: float) -> None:
        """Take the limits; `with` begins and ends the watch, in the main thread.

        Args:
            stuck_s: the longest time between two calls of `came_round`.
            drain_s: the same after a signal has told the process to stop.
        """
        self._limits = (stuck_s, drain_s)
        self._rounds = 0
        self._signals, self._wakeup = socket.socketpair()
        self._wakeup.setblocking(False)
        self._thread = threading.Thread(target=self._watch, name="offramp-watchdog", daemon=True)

    def __enter__(self) -> Self:
        self._before = signal.set_wakeup_fd(self._wakeup.fileno(), warn_on_full_buffer=False)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        signal.set_wakeup_fd(self._before)
        self._wakeup.close()
        self._thread.join()
        self._signals.close()

    def came_round(self) -> None:
        """Note that the main loop has made a turn."""
        self._rounds += 1

    def closing(self, within_s: float) -> None:
        """Note that the loop is over; the rest has its own time limit."""
        self._limits = (within_s, within_s)
        self.came_round()

    def _watch(self) -> None:
        seen, silent_s, told = 0, 0.0, 0
        looked = time.monotonic()
        while True:
            numbers = b""
            if select.select([self._signals], [], [], _TICK_S)[0]:
                numbers = self._signals.recv(64)
                if not numbers:
                    return
            now = time.monotonic()
            # Time in which the process was stopped or the machine asleep does not count.
            silent_s += min(now - looked, 2 * _TICK_S)
            looked = now
            stops = sum(number in _STOPPING for number in numbers)
            if seen != self._rounds or (stops and not told):
                seen, silent_s = self._rounds, 0.0
            told += stops
            limit_s = min(self._limits) if told else self._limits[0]
            if silent_s > limit_s:
                self._end(silent_s, told=bool(told))

    @staticmethod
    def _end(silent_s: float, *, told: bool) -> None:
        """Log where the main thread is, and end the process."""
        after = "was told to stop and" if told else "hangs: it"
        where = _where(sys._current_frames()[threading.main_thread().ident or 0])  # noqa: SLF001
        with contextlib.suppress(ConsumerError):
            bounded(
                log.critical,
                "the main loop %s has made no turn for %.0f s; it is in %s",
                after,
                silent_s,
                where,
                timeout_s=_SAYING_S,
            )
        os._exit(1)


def _where(frame: FrameType | None) -> str:
    """Return the innermost line of our code, and the innermost line of all if it is another."""
    lines = []
    while frame is not None:
        module = str(frame.f_globals.get("__name__"))
        lines.append((module, f"{module}.{frame.f_code.co_qualname}, line {frame.f_lineno}"))
        frame = frame.f_back
    innermost = lines[0][1]
    ours = next((line for name, line in lines if name.split(".")[0] in _OURS), innermost)
    return ours if ours == innermost else f"{ours}, and there in {innermost}"
