"""What is known of the workers of this process, or of a supervisor's: figures and health."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from consumer.metrics.catalogue import ENDS, READY
from consumer.metrics.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from consumer.metrics.catalogue import Key
    from consumer.metrics.report import Report

_STARTING = "starts"


@dataclass(slots=True)
class _Worker:
    """What one worker last reported."""

    since: float  # its last turn, or its start
    trouble: str = _STARTING
    gauges: Mapping[Key, float] = field(default_factory=dict)


class Board:
    """Adds up what workers report. Counts stay when a worker ends, and its gauges go."""

    def __init__(
        self,
        workers: Sequence[str],
        *,
        stuck_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Expect these workers; none of them has reported anything.

        Args:
            workers: their names.
            stuck_s: a worker without a turn of its main loop for this long is not alive.
            clock: returns seconds that only grow.
        """
        self._stuck_s = stuck_s
        self._clock = clock
        self._lock = threading.Lock()
        self._tally = Tally()
        self._workers = {name: _Worker(clock()) for name in workers}

    def take(self, worker: str, report: Report) -> bool:
        """Add a report of a worker; return True, as it is taken."""
        with self._lock:
            self._tally.merge(report.added)
            if report.turn is not None:
                known = self._workers[worker]
                known.since = self._clock()
                known.trouble, known.gauges = report.turn.trouble, report.turn.gauges
        return True

    def ended(self, worker: str) -> None:
        """Note that a worker ended by itself, and will be started again."""
        with self._lock:
            self._tally.add(ENDS)
            self._workers[worker] = _Worker(self._clock())

    def not_alive(self) -> list[str]:
        """Return what is wrong with the workers whose main loop hangs."""
        with self._lock:
            silent_s = {name: self._clock() - known.since for name, known in self._workers.items()}
        return [
            f"{name}: no turn of its main loop for {silent:.0f} s"
            for name, silent in silent_s.items()
            if silent > self._stuck_s
        ]

    def not_ready(self) -> list[str]:
        """Return why workers are not ready, one line for each of them."""
        with self._lock:
            troubles = {name: known.trouble for name, known in self._workers.items()}
        return [f"{name}: {trouble}" for name, trouble in troubles.items() if trouble]

    def figures(self) -> tuple[Tally, dict[Key, float]]:
        """Return what was counted, and the gauges."""
        with self._lock:
            gauges: dict[Key, float] = {
                (READY.name, (name,)): float(not known.trouble)
                for name, known in self._workers.items()
            }
            for known in self._workers.values():
                gauges |= known.gauges
            return self._tally.copy(), gauges
