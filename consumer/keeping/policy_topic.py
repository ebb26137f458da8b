"""The policy topic: what people have set of a group and its policy, as Kafka keeps it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import orjson

from consumer.errors import TopicMissing
from consumer.kafka.reading.reader import TopicReader
from consumer.kafka.writing.topic_writer import TopicWriter
from policy_state.store.kept import checked_record

if TYPE_CHECKING:
    from collections.abc import Mapping

    from consumer.events.record import Record
    from consumer.settings.sections import KafkaSettings
    from policy_state.store.kept import Key, Records

log = logging.getLogger("offramp.keeping")

_FLAWS_SHOWN: Final = 5


class PolicyTopic:
    """The records of one group in the compacted topic `kafka.policy_topic`.

    A record's key is a list in JSON, the group and what `policy_state.store.kept.Key` says;
    of each key the latest record counts. So groups share the topic, and a record that is written
    twice does no harm.
    """

    def __init__(self, settings: KafkaSettings) -> None:
        """Connect to nothing yet."""
        self._settings = settings

    def read(self) -> Records:
        """Return what the topic has of the group.

        Raises:
            TopicMissing: there is no such topic, or it may not be seen.
            StreamUnavailable: the broker does not answer.
        """
        found: Records = {}
        flaws = 0
        topic = self._settings.policy_topic
        try:
            reader = TopicReader(self._settings, [topic])
        except TopicMissing as error:  # it is to be created, whatever else there is
            raise TopicMissing(f"topic {topic} does not exist") from error
        with reader:
            for record in reader.records():
                try:
                    self._take(record, found)
                except ValueError as error:
                    flaws += 1
                    if flaws <= _FLAWS_SHOWN:
                        log.warning(
                            "skipped %s, not a record of this topic: %s", record.position, error
                        )
        return found

    def write(self, news: Mapping[Key, Mapping[str, str] | None]) -> None:
        """Write records in their order; None takes a key away.

        Raises:
            StreamUnavailable: the broker does not take them; some may be written.
        """
        topic = self._settings.policy_topic
        with TopicWriter(self._settings) as writer:
            for key, value in news.items():
                writer.send(
                    topic,
                    None if value is None else orjson.dumps(value),
                    key=orjson.dumps([self._settings.group, *key]),
                    origin=f"record {'/'.join(key)}",
                )

    def _take(self, record: Record, found: Records) -> None:
        value = None if record.value is None else orjson.loads(record.value)
        group, key, fields = checked_record(orjson.loads(record.key or b""), value)
        if group != self._settings.group:
            return
        if fields is None:
            found.pop(key, None)
        else:
            found[key] = fields
