"""Commits positions while there are no texts, so that what other programs call lag reaches zero."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from consumer.errors import SourceGone

if TYPE_CHECKING:
    from collections.abc import Callable

    from consumer.kafka.reading.batch import Batch
    from consumer.kafka.stream import KafkaStream
    from consumer.learning.counter import Counting
    from consumer.worker.standstill import Standstill

_EVERY_S: Final = 5.0


class IdleCommits:
    """Commits the positions of partitions that end with something that no reader gets.

    The marker behind each transaction has an offset. Kafka's tools and autoscalers count it as one
    record that the group has still to read, for as long as no text follows.
    """

    def __init__(
        self,
        stream: KafkaStream,
        counting: Counting,
        still: Standstill,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream
        self._counting = counting
        self._still = still
        self._clock = clock
        self._next = clock()

    def keep_up(self) -> None:
        """Commit what was passed, every few seconds; no batch may be under way.

        While the store does not answer nothing is committed: these offsets are to be counted first.

        Raises:
            StreamUnavailable, WorkerFenced: as for a batch.
            StoreError: the store refuses for good.
        """
        if self._clock() < self._next or self._counting.known.away:
            return
        self._next = self._clock() + _EVERY_S
        self._still.give_back()
        if (batch := self._stream.passed()) is None:
            return
        try:
            self._commit(batch)
        except SourceGone:  # it leaves with the next rebalance
            self._stream.rewind([batch])
        except BaseException:
            self._stream.rewind([batch])
            raise

    def _commit(self, batch: Batch) -> None:
        spans = {
            (topic_id, number): (batch.begins[topic_id, number], at)
            for (_, number), (topic_id, at) in batch.passed.items()
        }
        self._stream.commit(batch, (), before_commit=lambda: self._counting.pass_over(spans))
        self._counting.committed()
