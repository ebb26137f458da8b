"""Records read ahead: bounded in bytes, in order per partition, taken fairly by turn."""

from __future__ import annotations

import time
from collections import deque
from itertools import groupby
from typing import TYPE_CHECKING

from consumer.events.record import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

Partition = tuple[str, int]  # topic, number
_TURN = 8  # records a partition gives before it is another one's turn
_BYTES_PER_TOKEN = 4  # English text, roughly: the batch is cut by an estimate


class Buffer:
    """Holds what was read but not yet processed, in order per partition.

    A topic gets its turn however many partitions and records the others have, so that a hot one
    never starves the rest.
    """

    def __init__(self, *, limit_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit_bytes = limit_bytes
        self._clock = clock
        self._rows: dict[Partition, deque[Record]] = {}
        self._bytes: dict[Partition, int] = {}
        self._text_bytes: dict[Partition, int] = {}
        self._turns: deque[str] = deque()  # topics, the next one first
        self._since: float | None = None

    def add(self, records: Iterable[Record]) -> None:
        """Append records that follow those already held of their partition."""
        for key, rows in groupby(records, key=lambda record: (record.topic, record.partition)):
            added = list(rows)
            if key[0] not in self._turns:
                self._turns.append(key[0])
            self._rows.setdefault(key, deque()).extend(added)
            self._bytes[key] = self._bytes.get(key, 0) + sum([r.size_bytes for r in added])
            self._text_bytes[key] = self._text_bytes.get(key, 0) + sum(
                [r.text_bytes for r in added]
            )
            if self._since is None:
                self._since = self._clock()

    def drop(self, partition: Partition) -> None:
        """Forget a partition: it is another worker's now, or will be read again."""
        self._rows.pop(partition, None)
        self._bytes.pop(partition, None)
        self._text_bytes.pop(partition, None)
        if not self._rows:
            self._since = None

    def full(self, partitions: Collection[Partition]) -> set[Partition]:
        """Return those of the partitions of which no more should be read for now.

        Each has an equal share of half the limit. As what comes at once may go beyond a share, the
        other half is there so that this stops no other partition.
        """
        if sum(self._bytes.values()) >= self._limit_bytes:
            return set(partitions)
        share_bytes = self._limit_bytes / 2 / max(1, len(partitions))
        return {key for key in partitions if self._bytes.get(key, 0) >= share_bytes}

    @property
    def waiting_s(self) -> float:
        """For how long the buffer has not been empty; 0 if it is."""
        return 0.0 if self._since is None else self._clock() - self._since

    @property
    def events(self) -> int:
        """How many records are held."""
        return sum(map(len, self._rows.values()))

    @property
    def tokens(self) -> int:
        """About how many tokens are held."""
        return sum(self._text_bytes.values()) // _BYTES_PER_TOKEN

    def take(self, *, max_events: int, max_tokens: int) -> list[Record]:
        """Return the next batch, in order per partition, and forget it; at least one record.

        Raises:
            IndexError: the buffer is empty.
        """
        if not self._rows:
            raise IndexError("nothing to take: the buffer is empty")
        taken: list[Record] = []
        budget = max_tokens * _BYTES_PER_TOKEN
        while self._rows and len(taken) < max_events and (budget > 0 or not taken):
            topic = self._turns[0]
            self._turns.rotate(-1)
            partition = next((key for key in self._rows if key[0] == topic), None)
            if partition is None:
                self._turns.remove(topic)
                continue
            rows = self._rows.pop(partition)
            for _ in range(min(_TURN, len(rows), max_events - len(taken))):
                text_bytes = rows[0].text_bytes
                if taken and text_bytes > budget:
                    budget = 0
                    break
                budget -= text_bytes
                self._bytes[partition] -= rows[0].size_bytes
                self._text_bytes[partition] -= text_bytes
                taken.append(rows.popleft())
            if rows:
                self._rows[partition] = rows  # behind the topic's other partitions
            else:
                del self._bytes[partition], self._text_bytes[partition]
        self._since = self._clock() if self._rows else None
        return taken
