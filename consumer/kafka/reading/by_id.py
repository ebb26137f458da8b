"""Fetching by topic id: a topic that was deleted and made anew is never read as the one before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from consumer.kafka import private

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from kafka import TopicPartition

_BY_ID: Final = 13  # the version of the request that names topics by their ids; Kafka 3.1 and later
_TAG: Final = "_topic_id"


class ReadTopics:
    """The ids that partitions are read by; all partitions of a topic's name have the same.

    One thread changes it. Others may look, so what they are given is replaced and never changed.
    """

    def __init__(self) -> None:
        """Begin with nothing that is read."""
        self.ids: Mapping[TopicPartition, str] = {}
        """All that is read, with what is in doubt."""
        self.fetched = self.ids
        """What may be asked for now."""
        self.doubted: frozenset[TopicPartition] = frozenset()
        """Partitions whose topic a broker does not know; they are not fetched meanwhile."""

    def id_of(self, topic: str) -> str | None:
        """Return the id that the partitions of a topic are read by, if any is."""
        return next((found for tp, found in self.ids.items() if tp.topic == topic), None)

    def read(self, partition: TopicPartition, topic_id: str) -> list[TopicPartition]:
        """Have a partition read; return those of its topic that were read by another id."""
        old = [
            tp
            for tp, found in self.ids.items()
            if tp.topic == partition.topic and found != topic_id
        ]
        kept = {tp: found for tp, found in self.ids.items() if tp not in old}
        self._change({**kept, partition: topic_id}, self.doubted - {partition})
        return old

    def drop(self, partitions: Iterable[TopicPartition]) -> None:
        """Read some partitions no longer."""
        gone = set(partitions)
        kept = {tp: found for tp, found in self.ids.items() if tp not in gone}
        self._change(kept, self.doubted)

    def doubt(self, partition: TopicPartition) -> None:
        """Note that a broker does not know the topic that a partition is read of."""
        self._change(self.ids, self.doubted | {partition})

    def trust(self, partition: TopicPartition) -> None:
        """Note that the topic of a partition is what it was."""
        self._change(self.ids, self.doubted - {partition})

    def _change(
        self, ids: Mapping[TopicPartition, str], doubted: frozenset[TopicPartition]
    ) -> None:
        self.ids = ids
        self.doubted = doubted & ids.keys()
        self.fetched = {tp: found for tp, found in ids.items() if tp not in self.doubted}


def asked_id(answer: Any) -> str | None:  # noqa: ANN401  (kafka-python is untyped)
    """Return the id of the topic that an answer about a partition is about."""
    tags = answer.partition_data.unknown_tags or {}
    return tags.get(_TAG)


class FetchIds:
    """Has a fetcher of kafka-python ask for partitions by topic id, which it does by name only.

    A broker of before 3.1 is still asked by name. Only partitions that are read are asked for:
    kafka-python would begin as soon as they are assigned. All of it runs on the client's thread.
    """

    def __init__(self, fetcher: Any, topics: ReadTopics) -> None:  # noqa: ANN401
        self._fetcher = fetcher
        self._topics = topics
        self._now: Mapping[TopicPartition, str] = {}
        self._asked: dict[int, dict[str, str]] = {}  # by broker: id by name, in its fetch session
        self._fetchable = private.fetchable.replace(fetcher, self._read_partitions)
        self._create = private.create_requests.replace(fetcher, self._requests)
        self._handle = private.handle_response.replace(fetcher, self._take_answer)

    def _read_partitions(self) -> list[TopicPartition]:
        return [tp for tp in self._fetchable() if tp in self._now]

    def _requests(self) -> dict[int, tuple[Any, Any]]:
        self._now = self._topics.fetched
        ids = {tp.topic: found for tp, found in self._now.items()}
        for node, asked in self._asked.items():
            if any(ids.get(topic, found) != found for topic, found in asked.items()):
                self._end_session(node)
        requests: dict[int, tuple[Any, Any]] = self._create()
        for node, (request, _) in requests.items():
            asked = self._asked.setdefault(node, {})
            if request.session_epoch <= 0:  # it names all that is fetched
                asked.clear()
            asked |= {part.topic: ids[part.topic] for part in request.topics}
            named = [*request.topics, *request.forgotten_topics_data]
            uuids = [_uuid(asked[part.topic]) for part in named]
            if all(uuids):
                private.max_version.replace(request, _BY_ID)
                for part, uuid in zip(named, uuids, strict=True):
                    part.topic_id = uuid
        return requests

    def _end_session(self, node: int) -> None:
        """Have the next request to a broker say anew what is fetched, unless one is under way."""
        fetcher = self._fetcher
        session = private.sessions(fetcher).get(node)
        if session is not None and node not in private.pending_nodes(fetcher):
            session.handle_error(None)

    def _take_answer(self, node: int, offsets: Any, send_time: float, response: Any) -> None:  # noqa: ANN401
        asked = self._asked.get(node, {})
        if response.API_VERSION >= _BY_ID:
            names = {_uuid(found): topic for topic, found in asked.items()}
            for part in response.responses:
                part.topic = names.get(part.topic_id)
            response.responses = [part for part in response.responses if part.topic is not None]
        for topic in response.responses:
            for part in topic.partitions:
                part.unknown_tags = {_TAG: asked.get(topic.topic)}
        self._handle(node, offsets, send_time, response)


def _uuid(topic_id: str) -> UUID | None:
    """Return an id as Kafka sends it; None where a broker has none for its topics."""
    try:
        return UUID(topic_id)
    except ValueError:
        return None
