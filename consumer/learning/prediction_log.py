"""The topics of predictions, read again: what a lost store is counted from anew."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from consumer.errors import InvalidSettings, StreamUnavailable
from consumer.events.codec import read_prediction
from consumer.kafka.client import translated
from consumer.kafka.group.offsets import group_offsets
from consumer.kafka.reading.reader import TopicReader
from policy_state.health.rebuild import PredictedText

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from consumer.settings.sections import KafkaSettings

_COMMIT_WAIT_S: Final = 10.0
_COMMIT_POLL_S: Final = 0.2


class PredictionLog(TopicReader):
    """All committed predictions of one model in some topics, up to the end at the first call."""

    def __init__(
        self, settings: KafkaSettings, topics: Sequence[str], *, fingerprint: str, exits: int
    ) -> None:
        """Connect; nothing is read before `texts`.

        Raises:
            StreamUnavailable: no broker answers, or one of the topics does not exist.
        """
        super().__init__(settings, topics)
        self.skipped = 0
        """Records that are no predictions of this model, or of a topic that was deleted."""
        self._group = settings.group
        self._fingerprint = fingerprint
        self._exits = exits

    def committed(self, *, at_least: Mapping[str, int]) -> dict[tuple[str, int], int]:
        """Return what the group has committed, by topic id and partition.

        Predictions are complete up to there. Counters are added just before the commit, so this
        waits a while for commits to reach what is counted, `at_least`, by watermark name.

        Raises:
            InvalidSettings: the group has committed nothing: it may be another one's name.
        """
        deadline = time.monotonic() + _COMMIT_WAIT_S
        while True:
            with translated("reading the group's offsets"):
                offsets = group_offsets(self.admin, self._group, self.ids)
            if offsets == {}:
                raise InvalidSettings(f"group {self._group} has committed nothing")
            behind = [
                source
                for (topic_id, number), offset in (offsets or {}).items()
                if offset < at_least.get(source := f"{topic_id}/{number}", 0)
            ]
            if offsets and not behind:
                return offsets
            if time.monotonic() > deadline:
                if offsets is None:
                    raise StreamUnavailable("Kafka's coordinator of groups is not available")
                return offsets
            time.sleep(_COMMIT_POLL_S)

    def texts(self) -> Iterator[PredictedText]:
        """Yield the predictions of this model, as long as the topics were when this was called.

        Raises:
            StreamUnavailable: the broker stopped answering.
        """
        for record in self.records():
            yield from self.text(record.value)

    def text(self, value: bytes | None) -> Iterator[PredictedText]:
        """Yield the text that a record's value is the prediction of, if it is one."""
        body = read_prediction(value, fingerprint=self._fingerprint, exits=self._exits)
        source = body and body.source
        topic_id = source and self.ids.get(source.topic)
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
