"""The topics of predictions, read again: what a lost store is counted from anew."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from kafka import KafkaAdminClient, TopicPartition
from kafka.errors import CoordinatorNotAvailableError

from consumer.errors import InvalidSettings, StreamUnavailable
from consumer.events.prediction import read_prediction
from consumer.kafka.calls import translated
from consumer.kafka.client import connect
from consumer.kafka.group.committed import offset_in
from consumer.kafka.reading.reader import TopicReader, high_watermarks, topic_ids
from policy_state.health.rebuild import PredictedText

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from consumer.settings.sections import KafkaSettings

_COMMIT_WAIT_S: Final = 10.0
_COMMIT_POLL_S: Final = 0.2


class PredictionLog:
    """All committed predictions of one model in some topics, up to the end at the first call."""

    def __init__(
        self, settings: KafkaSettings, topics: Sequence[str], *, fingerprint: str, exits: int
    ) -> None:
        """Connect; nothing is read before `texts`.

        Raises:
            StreamUnavailable: no broker answers, or one of the topics does not exist.
        """
        self.skipped = 0
        """Records that are no predictions of this model, or of a topic that was deleted."""
        self._settings = settings
        self._fingerprint = fingerprint
        self._exits = exits
        self.reader = TopicReader(settings, topics)
        """Reads the same topics; their ids are with it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.reader.close()

    def committed(self, *, at_least: Mapping[str, int]) -> dict[tuple[str, int], int]:
        """Return what the group has committed, by topic id and partition.

        Predictions are complete up to there. Counters are added just before the commit, so this
        waits a while for commits to reach what is counted, `at_least`, by watermark name.

        Raises:
            InvalidSettings: the group has committed nothing: it may be another one's name.
        """
        deadline = time.monotonic() + _COMMIT_WAIT_S
        while True:
            offsets = self._group_offsets()
            if offsets == {}:
                raise InvalidSettings(f"group {self._settings.group} has committed nothing")
            behind = [
                source
                for (topic_id, number), offset in (offsets or {}).items()
                if offset < at_least.get(source := f"{topic_id}/{number}", 0)
            ]
            if offsets and not behind:
                return offsets
            if time.monotonic() > deadline:
                break
            time.sleep(_COMMIT_POLL_S)
        if offsets is None:
            raise StreamUnavailable("Kafka's coordinator of groups is not available")
        return offsets

    def _group_offsets(self) -> dict[tuple[str, int], int] | None:
        """Return what is committed; None while the broker cannot tell."""
        with translated("reading the group's offsets"):
            return group_offsets(self.reader.admin, self._settings.group, self.reader.ids)

    def deleted(self) -> int:
        """Return how many predictions retention has taken from the topics, at most.

        Raises:
            StreamUnavailable: the broker stopped answering.
        """
        return self.reader.deleted()

    def texts(self) -> Iterator[PredictedText]:
        """Yield the predictions of this model, as long as the topics were when this was called.

        Raises:
            StreamUnavailable: the broker stopped answering.
        """
        for value in self.reader.values():
            yield from self.text(value)

    def text(self, value: bytes | None) -> Iterator[PredictedText]:
        """Yield the text that a record's value is the prediction of, if it is one."""
        body = read_prediction(value, fingerprint=self._fingerprint, exits=self._exits)
        source = body and body.source
        topic_id = source and self.reader.ids.get(source.topic)
        # Of a topic deleted since; without an id it is taken as of the one there is.
        if not body or not source or not topic_id or source.topic_id not in {None, topic_id}:
            self.skipped += 1
            return
        yield PredictedText(
            topic_id=topic_id,
            partition=source.partition,
            offset=source.offset,
            domain=body.domain,
            exit_labels=body.exit_labels,
        )


def group_offsets(
    admin: KafkaAdminClient, group: str, ids: Mapping[str, str]
) -> dict[tuple[str, int], int] | None:
    """Return what a group has committed, by topic id and partition; None: it cannot be told yet.

    Args:
        admin: a connection.
        group: the group's name.
        ids: of the topics there are, by name.
    """
    try:
        found = admin.list_group_offsets([group])[group]
    except CoordinatorNotAvailableError:  # it starts, or moves the group
        return None
    return {
        (ids[tp.topic], tp.partition): offset
        for tp, entry in found.items()
        if tp.topic in ids and (offset := offset_in(entry, ids[tp.topic])) is not None
    }


@dataclass(frozen=True, slots=True)
class KafkaState:
    """What Kafka has of all partitions, by watermark name."""

    logs: Mapping[str, tuple[int, int]]  # first and next offset
    committed: Mapping[str, int] | None  # by the group; None: it could not be told


def kafka_state(settings: KafkaSettings) -> KafkaState:
    """Return the logs, and what the group has committed of them.

    Raises:
        StreamUnavailable: no broker answers.
    """
    client = connect(settings)
    with translated("reading the logs' ends"), KafkaAdminClient(**client) as admin:
        ids = topic_ids(admin)
        committed = group_offsets(admin, settings.group, ids)
        counts = {d["name"]: len(d["partitions"]) for d in admin.describe_topics(list(ids))}
        partitions = [
            TopicPartition(topic, number) for topic in ids for number in range(counts[topic])
        ]
        ends = high_watermarks(admin, partitions)
    return KafkaState(
        {f"{ids[tp.topic]}/{tp.partition}": (0, end) for tp, end in ends.items()},
        None
        if committed is None
        else {f"{t}/{number}": at for (t, number), at in committed.items()},
    )


def log_ranges(settings: KafkaSettings) -> Mapping[str, tuple[int, int]]:
    """Return first and next offset of every partition's log, by watermark name.

    Raises:
        StreamUnavailable: no broker answers.
    """
    return kafka_state(settings).logs
