"""Topics read on and on from known positions, and records looked up by their offsets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kafka import IsolationLevel, TopicPartition

from consumer.kafka.client import translated
from consumer.kafka.reading.reader import TopicReader
from consumer.kafka.topics import log_offsets, topic_ids

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from consumer.events.record import Record
    from consumer.settings.sections import KafkaSettings

Place = tuple[str, int]  # topic, partition

UNKNOWN: Final = -1
"""Stands for the position of a partition of which none is known."""

# Nobody waits for what is followed, and each answer costs the broker time that writers need.
_LEAST_BYTES: Final = 1 << 20
_MOST_WAIT_MS: Final = 1_000
_LOOKED_UP_BYTES: Final = 128 << 10  # what is beyond the offsets in question is fetched in vain


class FollowedTopics(TopicReader):
    """All committed records of some topics from known positions on, without a group."""

    def __init__(self, settings: KafkaSettings, topics: Sequence[str]) -> None:
        """Connect.

        Raises:
            StreamUnavailable: no broker answers, or one of the topics does not exist.
        """
        super().__init__(
            settings, topics, fetch_min_bytes=_LEAST_BYTES, fetch_max_wait_ms=_MOST_WAIT_MS
        )
        self._counted: dict[TopicPartition, int] = {}

    def begin(self, known: Mapping[str, int], *, since_ms: int) -> None:
        """Begin to read at known positions, elsewhere at the first record as young as `since_ms`.

        Args:
            known: By "<topic id>/<partition>".
            since_ms: In ms since 1970.

        Raises:
            StreamUnavailable: no broker answers.
        """
        with translated("looking for where to read " + ", ".join(self._topics)):
            found = self._readable_since(since_ms)
            self._consumer.assign(list(found))
            for tp, (young, _) in found.items():
                at = self._counted[tp] = known.get(self._source(tp), UNKNOWN)
                self._consumer.seek(tp, young if at == UNKNOWN else at)

    def poll(self, *, timeout_s: float) -> list[Record]:
        """Return the readable records that have come.

        Raises:
            StreamUnavailable: Kafka refuses.
        """
        with translated("reading " + ", ".join(self._topics)):
            polled = self._fetching.poll(timeout_ms=int(timeout_s * 1000))
        return [r for records in polled.values() for r in records if r.fault is None]

    def moves(self) -> dict[str, tuple[int, int]]:
        """Return from where to where partitions were read since `counted`, by source."""
        now = {tp: self._consumer.position(tp) for tp in self._counted}
        return {
            self._source(tp): (self._counted[tp], at)
            for tp, at in now.items()
            if at is not None and at != self._counted[tp]
        }

    def counted(self, moves: Mapping[str, tuple[int, int]]) -> None:
        """Take note that all that was read in these moves is dealt with."""
        at = {tp: moves.get(self._source(tp)) for tp in self._counted}
        self._counted |= {tp: move[1] for tp, move in at.items() if move}

    @property
    def behind(self) -> int:
        """How many offsets lie between where it reads and the ends that brokers told last."""
        ends = {tp: self._consumer.highwater(tp) for tp in self._counted}
        left = (end - (self._consumer.position(tp) or 0) for tp, end in ends.items() if end)
        return sum(max(0, each) for each in left)

    def _source(self, tp: TopicPartition) -> str:
        return f"{self.ids[tp.topic]}/{tp.partition}"


class RecordLookup(TopicReader):
    """Records of any topics, by their offsets."""

    def __init__(self, settings: KafkaSettings) -> None:
        """Connect.

        Raises:
            StreamUnavailable: no broker answers.
        """
        super().__init__(settings, (), max_partition_fetch_bytes=_LOOKED_UP_BYTES)
        self._ends: dict[TopicPartition, int] = {}

    def known(self, topic: str, topic_id: str | None) -> bool:
        """Return whether there is a topic of this name and id; without an id its name will do."""
        if topic_id != self.ids.get(topic) and (topic_id or topic not in self.ids):
            with translated("looking for topics"):
                self.ids = topic_ids(self.admin)
        return topic in self.ids and topic_id in {None, self.ids[topic]}

    def at(self, wanted: Mapping[Place, Collection[int]]) -> Iterator[Record]:
        """Yield the records at some offsets of topics that exist; some may be gone.

        Raises:
            StreamUnavailable: the broker stopped answering.
        """
        places = {TopicPartition(*place): set(offsets) for place, offsets in wanted.items()}
        late = [tp for tp, offsets in places.items() if max(offsets) >= self._ends.get(tp, 0)]
        with translated("looking for the ends of inputs"):
            self._ends |= log_offsets(
                self.admin,
                [tp for tp in late if tp.partition in self._numbers(tp.topic)],
                isolation_level=IsolationLevel.READ_COMMITTED,
            )
        spans: dict[TopicPartition, tuple[int | None, int]] = {}
        for tp, offsets in places.items():
            there = [offset for offset in offsets if offset < self._ends.get(tp, 0)]
            if there:
                spans[tp] = min(there), max(there) + 1
        if spans:
            for tp, record in self.between(spans):
                if record.offset in places[tp]:
                    yield record

    def _numbers(self, topic: str) -> Collection[int]:
        return self._consumer.partitions_for_topic(topic) or ()
