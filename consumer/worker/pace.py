"""How fast a worker is: the texts that it takes in a second while it has any to take."""

from __future__ import annotations

from collections import deque
from typing import Final

_WINDOW_S: Final = 60.0
_STEP_S: Final = 1.0


class Pace:
    """Texts in a second of work over the last minute; while there is no work, what it was last.

    A backlog is worked off at this pace. Texts in a second of the clock would be too few where the
    worker mostly waits for texts.

    >>> pace = Pace()
    >>> for now in range(100):  # it works a tenth of the time
    ...     pace.note(now, busy_s=now / 10, texts=5 * now)
    >>> pace.texts_per_s
    50.0
    """

    def __init__(self) -> None:
        """Begin with no pace."""
        self._samples: deque[tuple[float, float, int]] = deque()
        self.texts_per_s = 0.0
        """0 until the first batch is through."""

    def note(self, now: float, *, busy_s: float, texts: int) -> None:
        """Take note of the time, and of how long there was work and how many texts are done."""
        samples = self._samples
        if samples and now - samples[-1][0] < _STEP_S:
            return
        samples.append((now, busy_s, texts))
        while samples[0][0] < now - _WINDOW_S:
            samples.popleft()
        _, busy_before_s, texts_before = samples[0]
        if texts > texts_before and busy_s > busy_before_s:
            self.texts_per_s = (texts - texts_before) / (busy_s - busy_before_s)
