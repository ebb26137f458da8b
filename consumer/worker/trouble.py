"""How long errors may go on before the worker ends."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_PAUSE_S = (0.1, 0.5, 1.0, 2.0, 5.0)
_CALM_S = 30.0


class Trouble:
    """Errors in a row: over with a batch that is committed, or after a while without work."""

    def __init__(self, *, give_up_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Start without any.

        Args:
            give_up_s: how long errors may go on.
            clock: seconds that only grow.
        """
        self._give_up_s = give_up_s
        self._clock = clock
        self._since: float | None = None
        self._last = 0.0
        self.times = 0
        """How many errors there were."""

    def failed(self) -> float | None:
        """Note an error; return how long to pause, or None where they have gone on too long."""
        self._last = self._clock()
        if self._since is None:
            self._since = self._last
        if self._last - self._since > self._give_up_s:
            return None
        self.times += 1
        return _PAUSE_S[min(self.times, len(_PAUSE_S)) - 1]

    def committed(self) -> None:
        """Note that a batch is through: what comes next is another trouble."""
        self._since, self.times = None, 0

    def idle(self) -> None:
        """Note that nothing is to be done, and nothing fails."""
        if self._clock() - self._last > _CALM_S:
            self.committed()
