"""Partitions that cannot be read for now: they stand still for a while, the others continue."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kafka.errors import TopicAuthorizationFailedError

from consumer.kafka.targets import allow

if TYPE_CHECKING:
    from collections.abc import Collection

    from kafka import TopicPartition

log = logging.getLogger("offramp.stream")

_REST_S = 1.0
_SAID_EVERY_S = 60.0
_OVER_S = 5.0  # it was tried again meanwhile, and gave no error


@dataclass(slots=True)
class _Rest:
    """Why a partition cannot be read, when that was last seen, and when it was last logged."""

    cause: str
    failed: float
    logged: float


class Resting:
    """Notes which partitions gave an error, and says so, once a minute for each."""

    def __init__(self) -> None:
        self._rests: dict[TopicPartition, _Rest] = {}

    def add(self, partition: TopicPartition, error: Exception) -> None:
        """Let a partition stand still, until it is tried again."""
        now, cause = time.monotonic(), repr(error)
        if isinstance(error, TopicAuthorizationFailedError):
            cause = f"may not be read: allow it with {allow(partition.topic, 'Read', 'Describe')}"
        known = self._rests.setdefault(partition, _Rest(cause, now, now - _SAID_EVERY_S))
        if now - known.logged >= _SAID_EVERY_S:
            known.logged = now
            log.error(
                "stands still partitions=%s[%d] cause=%r",
                *partition,
                cause,
            )
        known.cause, known.failed = cause, now

    def still(self, assigned: Collection[TopicPartition]) -> set[TopicPartition]:
        """Return those of this worker's partitions that are not to be read for now."""
        now = time.monotonic()
        for tp in [tp for tp in self._rests if tp not in assigned]:
            del self._rests[tp]
        for tp in [tp for tp, rest in self._rests.items() if now - rest.failed > _OVER_S]:
            del self._rests[tp]
            log.info("continues partitions=%s[%d]", *tp)
        return {tp for tp, rest in self._rests.items() if now - rest.failed < _REST_S}

    def said(self) -> list[str]:
        """Return what cannot be read and why, one partition each."""
        return [f"{tp.topic}[{tp.partition}] {rest.cause}" for tp, rest in self._rests.items()]
