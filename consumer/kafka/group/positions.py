"""Where this worker's group is in its partitions, kept in Redis for when Kafka has forgotten it."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Final

from policy_state.errors import StoreError, StoreUnavailable

if TYPE_CHECKING:
    from policy_state.store.positions import ConsumerGroup, PositionStore

log = logging.getLogger("offramp.stream")

_EVERY_S: Final = 2.0
_PAUSE_S: Final = 5.0  # a store that does not answer is left alone for so long


class Positions:
    """The positions of one group: told by a store, and noted there every few seconds.

    They are noted after Kafka has them, so they may be behind, by what a worker that was killed had
    not noted yet, and are never ahead: going on there loses nothing.
    """

    def __init__(self, store: PositionStore, group: ConsumerGroup) -> None:
        """Ask nothing yet."""
        self._store = store
        self._group = group
        self._lock = threading.Lock()
        self._news: dict[str, int] = {}
        self._noted: dict[str, int] = {}
        self._next = 0.0
        self._away_until = 0.0

    def kept(self, source: str) -> int | None:
        """Return where the group goes on in `<topic id>/<partition>`; None where nobody knows.

        Raises:
            StoreUnavailable: the store does not answer, or did not a moment ago.
            StoreError: it answers something odd.
        """
        with self._lock:
            if source in self._news:
                return self._news[source]
        if time.monotonic() < self._away_until:
            raise StoreUnavailable("redis did not answer a moment ago", cause="connection")
        try:
            return self._store.position(self._group, source)
        except StoreUnavailable:
            self._away_until = time.monotonic() + _PAUSE_S
            raise

    def note(self, source: str, offset: int) -> None:
        """Take note of what is committed, or where reading goes on; nothing is sent yet."""
        with self._lock:
            self._news[source] = self._noted[source] = offset

    def noted(self, source: str) -> int | None:
        """Return what was noted of a partition last."""
        with self._lock:
            return self._noted.get(source)

    def keep_up(self, *, insist: bool = False) -> None:
        """Send what was noted, every few seconds or now; what cannot be sent is sent later."""
        if not insist and time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _EVERY_S
        with self._lock:
            news = dict(self._news)
        try:
            self._store.keep_positions(self._group, news)
        except StoreError as error:  # Kafka has them, which is enough for days
            log.warning("positions not kept partitions=%d error=%s", len(news), error)
            return
        with self._lock:
            self._news = {s: at for s, at in self._news.items() if news.get(s) != at}
