"""The topics of predictions, read again: what a lost store is counted from anew."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Final

from consumer.errors import InvalidSettings, StreamUnavailable
from consumer.events.predictions import read_prediction
from consumer.kafka.client import translated
from consumer.kafka.group.offsets import group_offsets
from consumer.kafka.reading.reader import TopicReader
from policy_state.health.rebuild import PredictedText

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping, Sequence

    from consumer.kafka.predicted_to import Former
    from consumer.kafka.reading.buffer import Partition
    from consumer.settings.sections import KafkaSettings
    from policy_state.store.offsets import Range

_STRETCH: Final = 20_000  # records of a partition that are read at a time, first
_LONGEST_STRETCH: Final = 320_000
_CLOCKS_MS: Final = 3_600_000  # that machines which write predictions may differ by
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
                raise InvalidSettings(
                    f"group {self._group} has committed nothing: check kafka.group"
                )
            behind = [
                source
                for (topic_id, number), offset in (offsets or {}).items()
                if offset < at_least.get(source := f"{topic_id}/{number}", 0)
            ]
            if offsets and not behind:
                return offsets
            if time.monotonic() > deadline:
                if offsets is None:
                    raise StreamUnavailable("Kafka's group coordinator is not available")
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
        found = predicted_text(
            value, ids=self.ids, fingerprint=self._fingerprint, exits=self._exits
        )
        if found is None:
            self.skipped += 1
        else:
            yield found


def predicted_text(
    value: bytes | None, *, ids: Mapping[str, str], fingerprint: str, exits: int
) -> PredictedText | None:
    """Return the text that a record's value is the prediction of, if it is one of this model.

    Args:
        value: Of the record.
        ids: Of the topics that texts come from, by name. A text of a topic that was deleted since
            is none; without an id it is taken as of the one there is.
        fingerprint: Of the model.
        exits: Of the model.
    """
    body = read_prediction(value, fingerprint=fingerprint, exits=exits)
    source = body and body.source
    topic_id = source and ids.get(source.topic)
    if not body or not source or not topic_id or source.topic_id not in {None, topic_id}:
        return None
    return PredictedText(
        topic_id=topic_id,
        partition=source.partition,
        offset=source.offset,
        domain=body.domain,
        exit_labels=body.exit_labels,
        exit_scores=body.exit_scores,
        exit_credits=body.exit_credits,
        chosen_exit=body.chosen_exit,
        gate=body.gate,
    )


class ReadBack:
    """Reads predictions from their ends back until all that is wanted was seen.

    Predictions of one partition stand in the order of its offsets in each partition that they go
    to. So where one of before what is wanted is seen, all that is wanted stands behind it there;
    and elsewhere behind what was written an hour before it.
    """

    def __init__(
        self,
        predictions: PredictionLog,
        wanted: Mapping[str, tuple[Range, ...]],
        gone: Sequence[Former],
        *,
        most_records: int | None,
        go_on: Callable[[], bool],
    ) -> None:
        self._predictions = predictions
        self._gone = gone
        self._lowest = {source: pieces[0][0] for source, pieces in wanted.items()}
        self._left_records = most_records
        self._go_on = go_on
        self._whole: dict[Partition, set[str]] = {}  # of which nothing is missing, by place
        self._before_ms: dict[str, int] = {}  # when something before what is wanted was written
        self._ended = False  # all has been read that may be

    def not_found(self) -> set[str]:
        """Return the partitions of which predictions may be missing."""
        if not self._ended:
            return set(self._lowest)
        every = set(self._lowest)
        not_seen = {source for seen in self._whole.values() for source in every - seen}
        return not_seen | self._deleted()

    def _deleted(self) -> set[str]:
        """Return the partitions whose predictions may have gone to a topic that is no more."""
        names = {id_: name for name, id_ in self._predictions.ids.items()}
        return {
            source
            for source in self._lowest
            for route in self._gone
            if re.fullmatch(route.topics, names.get(source.rpartition("/")[0], ""))
            and self._before_ms.get(source, 0) - _CLOCKS_MS <= route.until_ms
        }

    def texts(self) -> Iterator[PredictedText]:
        """Yield the texts of all predictions on the way, the latest stretch of each topic first."""
        ends = self._predictions.ends()
        self._whole = {tp: set() if end else set(self._lowest) for tp, (_, end) in ends.items()}
        reached = {tp: end for tp, (first, end) in ends.items() if end > first}
        size = _STRETCH
        while reached:
            if self._left_records is not None:
                size = min(size, self._left_records // len(reached))
                self._left_records -= size * len(reached)
            if not size:
                break
            firsts = {tp: max(ends[tp][0], end - size) for tp, end in reached.items()}
            oldest_ms = yield from self._stretch({tp: (firsts[tp], reached[tp]) for tp in reached})
            if not self._go_on():
                return
            for tp, first in firsts.items():
                self._note_whole(tp, first, oldest_ms.get(tp))
            reached = {
                tp: first
                for tp, first in firsts.items()
                if first > ends[tp][0] and self._whole[tp] != set(self._lowest)
            }
            size = min(2 * size, _LONGEST_STRETCH)
        self._ended = True

    def _note_whole(self, tp: Partition, first: int, oldest_ms: int | None) -> None:
        """Note of which partitions all is seen that is wanted, this one being read from `first`."""
        if first == 0:  # nothing was ever there that is not now
            self._whole[tp] = set(self._lowest)
        for source, before_ms in self._before_ms.items():
            if oldest_ms is not None and oldest_ms < before_ms - _CLOCKS_MS:
                self._whole[tp].add(source)

    def _stretch(
        self, spans: Mapping[Partition, tuple[int | None, int]]
    ) -> Generator[PredictedText, None, dict[Partition, int]]:
        """Yield the texts of a stretch; return the time of the oldest record of each partition."""
        oldest_ms: dict[Partition, int] = {}
        for tp, record in self._predictions.between(spans):
            oldest_ms.setdefault(tp, record.timestamp_ms)
            for text in self._predictions.text(record.value):
                source = f"{text.topic_id}/{text.partition}"
                lowest = self._lowest.get(source)
                if lowest is None:
                    continue
                if text.offset < lowest:
                    self._whole[tp].add(source)
                    before_ms = self._before_ms.get(source, record.timestamp_ms)
                    self._before_ms[source] = min(before_ms, record.timestamp_ms)
                else:
                    yield text
        return oldest_ms
