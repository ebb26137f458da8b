"""When each stage of a batch began and ended."""

from __future__ import annotations

import time
from typing import NamedTuple


class Lap(NamedTuple):
    """A stage of a batch, on a clock that only grows."""

    begun: float
    ended: float


class Laps:
    """The stages of a batch, each of which begins when the one before it ends."""

    def __init__(self) -> None:
        self.done: dict[str, Lap] = {}
        self._last = time.monotonic()

    def lap(self, stage: str) -> None:
        """Note that a stage is over."""
        now = time.monotonic()
        self.done[stage] = Lap(self._last, now)
        self._last = now
