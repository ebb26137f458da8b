"""How long each stage of a batch takes."""

from __future__ import annotations

import time


class Laps:
    """Seconds from one stage of a batch to the next."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.monotonic()

    def lap(self, stage: str) -> None:
        """Note that a stage is over, which began when the one before it was."""
        now = time.monotonic()
        self.seconds[stage] = now - self._last
        self._last = now
