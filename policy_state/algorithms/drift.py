"""Drift: has a domain changed since its counters began? If so it is better started afresh."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from policy_state.algorithms.bounds import coin_divergence
from policy_state.wording import counted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from policy_state.algorithms.arrays import Counters
    from policy_state.stats import ExitStats

    Floats = NDArray[np.float64]

BLOCK_TEXTS: Final = 32
"""Texts that are looked at together, at least."""

_SPAN_BLOCKS: Final = 1024
"""Longest window, in blocks: what changes more slowly is followed by the counters themselves."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """A rate that is not what it was. `evidence` is a log likelihood ratio, in nats."""

    what: str  # e.g. "disagreement of exit 2"
    before: float
    after: float
    texts: int  # how many of the latest texts differ from the ones before
    evidence: float

    @property
    def reason(self) -> str:
        """The alarm as one line, for the audit."""
        return (
            f"drift: {self.what} was {self.before:.1%}, is {self.after:.1%} "
            f"over the last {counted(self.texts, 'text')} (evidence {self.evidence:.1f})"
        )


class DriftWindow:
    """The latest texts of one domain, against all texts its counters know.

    Windows of doubling lengths are compared, from one block up: blocks are merged by twos as they
    grow old, so a long memory takes little room (as ADWIN does). Compared are the disagreement of
    every exit with exit 0, and the last two bits of exit 0's labels, which are seen of every text.
    """

    def __init__(self, exits: int, *, evidence: float) -> None:
        """Start with nothing; an alarm takes so much `evidence`."""
        self._evidence = evidence
        self._exits = exits
        self._open = np.zeros((2, exits + 1))
        self._blocks: list[tuple[int, Floats]] = []  # (size in blocks, sums), the latest last

    def add(self, delta: Counters | ExitStats, known: Counters | ExitStats) -> Alarm | None:
        """Add texts, and return an alarm if they, or the latest texts, differ from before.

        Args:
            delta: What the new texts add; at least one text.
            known: All that the domain's counters know, the new texts among it or not yet.
        """
        self._open += _rates(delta)
        texts = int(self._open[0, 0])
        if texts < BLOCK_TEXTS:
            return None
        self._blocks.append((texts // BLOCK_TEXTS, self._open))
        self._open = np.zeros((2, self._exits + 1))
        self._merge()
        return self._compare(_rates(known))

    def _merge(self) -> None:
        """Merge the older two of three neighbours that are no larger the older they are."""
        for newest in range(len(self._blocks) - 1, 1, -1):
            oldest, middle = self._blocks[newest - 2 : newest]
            if oldest[0] <= self._blocks[newest][0]:
                merged = (oldest[0] + middle[0], oldest[1] + middle[1])
                self._blocks[newest - 2 : newest] = [merged]
        while len(self._blocks) > 1 and sum(size for size, _ in self._blocks) > _SPAN_BLOCKS:
            del self._blocks[0]

    def _compare(self, known: Floats) -> Alarm | None:
        windows = np.stack([sums for _, sums in reversed(self._blocks)]).cumsum(axis=0)
        before = np.maximum(known - windows, 0)
        evidence = _evidence(windows, before)
        window, rate = divmod(int(evidence.argmax()), evidence.shape[1])
        if evidence[window, rate] < self._evidence:
            return None
        (n, hits), (n_before, hits_before) = windows[window, :, rate], before[window, :, rate]
        return Alarm(
            what=self._called(rate),
            before=float(hits_before / n_before),
            after=float(hits / n),
            texts=int(windows[window, 0, 0]),
            evidence=float(evidence[window, rate]),
        )

    def _called(self, rate: int) -> str:
        if rate == self._exits:
            return "share of labels 2, 3 (6, 7 ..) at exit 0"
        return f"disagreement of exit {rate}" if rate else "share of labels 1 (3, 5 ..) at exit 0"


class DriftWatch:
    """The windows of the domains that a worker sees, the latest used ones."""

    def __init__(self, exits: int, *, evidence: float, domains: int = 10_000) -> None:
        """Watch at most so many domains; 0 `evidence` watches none."""
        self._exits, self._evidence, self._room = exits, evidence, domains
        self._windows: OrderedDict[str, tuple[int, DriftWindow]] = OrderedDict()

    def add(self, domain: str, delta: ExitStats, *, known: ExitStats, epoch: int) -> Alarm | None:
        """Add what a batch taught of a domain; an alarm says to start the domain afresh.

        Args:
            domain: Its name.
            delta: What the worker's own texts added.
            known: The domain's counters, of all workers.
            epoch: Of these counters. A new epoch starts a new window.
        """
        if not self._evidence or not delta.texts:
            return None
        held, window = self._windows.pop(domain, (None, None))
        if window is None or held != epoch:
            window = DriftWindow(self._exits, evidence=self._evidence)
        self._windows[domain] = (epoch, window)
        if len(self._windows) > self._room:
            self._windows.popitem(last=False)
        return window.add(delta, known)


def _rates(counters: Counters | ExitStats) -> Floats:
    """Return (2, exits + 1), texts and hits: odd labels at exit 0, disagreements, high labels."""
    observed, disagreed = counters.observed, counters.disagreed  # exit 0's of itself: never
    hits = [counters.odd[0], *disagreed[1:], counters.high[0]]
    return np.array([[*observed, observed[0]], hits], dtype=np.float64)


def _evidence(windows: Floats, before: Floats) -> Floats:
    """Return the log likelihood ratio of two rates against one; both (windows, 2, rates)."""
    (n, hits), (m, old_hits) = windows.swapaxes(0, 1), before.swapaxes(0, 1)
    pooled = (hits + old_hits) / np.maximum(n + m, 1)
    new = n * coin_divergence(np.minimum(hits / np.maximum(n, 1), 1), pooled)
    old = m * coin_divergence(np.minimum(old_hits / np.maximum(m, 1), 1), pooled)
    total: Floats = new + old
    return total
