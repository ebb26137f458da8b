"""Partitions that cannot be read for now: they stand still for a while, the others go on."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from kafka import TopicPartition

log = logging.getLogger("offramp.stream")

_REST_S = 1.0
_SAID_EVERY_S = 60.0


class Resting:
    """Notes which partitions gave an error, and says so, once a minute for each."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until: dict[TopicPartition, float] = {}
        self._said: dict[TopicPartition, float] = {}

    def add(self, partition: TopicPartition, error: Exception) -> None:
        """Let a partition stand still."""
        now = self._clock()
        self._until[partition] = now + _REST_S
        if now - self._said.get(partition, -_SAID_EVERY_S) >= _SAID_EVERY_S:
            self._said[partition] = now
            log.error(
                "cannot be read, stands still while the others go on partition=%s[%d] error=%r",
                *partition,
                error,
            )

    def still(self, partitions: Iterable[TopicPartition]) -> set[TopicPartition]:
        """Return those that are not to be read for now."""
        now = self._clock()
        return {tp for tp in partitions if self._until.get(tp, now) > now}
