"""Threads that do something repeatedly while a worker processes batches."""

from __future__ import annotations

import threading
from typing import Final

_JOIN_S: Final = 0.5


class Rounds:
    """Calls `_round` in its own thread, each time after the pause that the last call returned.

    `_round` handles its errors: an exception that leaves it ends the thread.
    """

    def __init__(self, name: str, *, first_s: float) -> None:
        """Take the thread's name, and the pause before its first round."""
        self._first_s = first_s
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._trouble = ""

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """End after the present round, without waiting for it if it takes long."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(_JOIN_S)

    def _round(self) -> float:
        """Do what is due, and return the seconds until the next time."""
        raise NotImplementedError

    def _is_news(self, trouble: str) -> bool:
        """Return whether a trouble is new since the last call, so that each is logged once."""
        news, self._trouble = trouble not in {"", self._trouble}, trouble
        return news

    def _run(self) -> None:
        pause_s = self._first_s
        while not self._stopped.wait(pause_s):
            pause_s = self._round()
