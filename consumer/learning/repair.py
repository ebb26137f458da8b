"""Counts what was predicted and never counted: from the predictions, back to where it begins."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from consumer.learning.prediction_log import PredictionLog
from policy_state.health.rebuild import PredictedText, checked_marks, rebuild
from policy_state.store.offsets import Counted

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence

    from consumer.kafka.predicted_to import Former, PredictedTo
    from consumer.kafka.reading.buffer import Partition
    from consumer.settings.sections import KafkaSettings
    from policy_state.store.admin import PolicyAdmin
    from policy_state.store.offsets import Range

log = logging.getLogger("offramp.repairing")

_STRETCH: Final = 20_000  # records of a partition that are read at a time, first
_LONGEST_STRETCH: Final = 320_000
_CLOCKS_MS: Final = 3_600_000  # that machines which write predictions may differ by


@dataclass(frozen=True, slots=True)
class Repaired:
    """What a repair did."""

    counted: int = 0  # texts
    offsets: int = 0  # that were not counted, and are now, those without a text included
    left: tuple[str, ...] = ()  # partitions, by watermark name, of which not all could be found


def uncounted(
    marks: Mapping[str, Counted], committed: Mapping[str, int]
) -> dict[str, tuple[Range, ...]]:
    """Return the offsets that are committed and not counted, by watermark name.

    >>> uncounted({"t/0": Counted(20), "t/1": Counted(9)}, {"t/0": 20, "t/1": 12, "t/2": 3})
    {'t/1': ((9, 12),), 't/2': ((0, 3),)}
    """
    found = {s: marks.get(s, Counted()).open_below(end) for s, end in committed.items()}
    return {source: pieces for source, pieces in found.items() if pieces}


def repair(  # noqa: PLR0913 - the limits that a worker has and a command has not
    settings: KafkaSettings,
    store: PolicyAdmin,
    where: PredictedTo,
    *,
    sources: Collection[str] | None = None,
    most_records: int | None = None,
    go_on: Callable[[], bool] = lambda: True,
) -> Repaired:
    """Count what the group has committed and nobody has counted; several may do so at a time.

    A partition of which not every text can be found is left as it is.

    Args:
        settings: addresses, and the group.
        store: with the policy open.
        where: the topics that the group's predictions go to, and went to.
        sources: the partitions in question, by watermark name; default: all.
        most_records: how many predictions to read back at most; default: as many as there are.
        go_on: asked now and then; where it says no, nothing more is counted.

    Raises:
        StreamUnavailable, StoreError: Kafka or the store does not answer, or refuses.
        StoreCorrupt: watermarks went missing, so texts would be counted twice.
        InvalidSettings: the group has committed nothing.
    """
    meta = store.describe().meta
    with PredictionLog(
        settings, where.topics, fingerprint=meta.fingerprint, exits=meta.exits
    ) as predictions:
        found = predictions.committed(at_least={})
        upto = {
            key: end
            for key, end in found.items()
            if sources is None or f"{key[0]}/{key[1]}" in sources
        }
        marks = checked_marks(store)
        wanted = uncounted(marks, {f"{t}/{number}": end for (t, number), end in upto.items()})
        upto = {key: end for key, end in upto.items() if f"{key[0]}/{key[1]}" in wanted}
        if not upto:
            return Repaired()
        if not where.topics:  # nothing can be found where nothing is looked through
            return Repaired(left=tuple(sorted(wanted)))
        back = _Back(predictions, wanted, where.gone, most_records=most_records, go_on=go_on)
        done = rebuild(store, back.texts(), upto=upto, left_out=back.not_found, frozen_too=False)
    left = back.not_found()
    offsets = sum(
        last - first
        for source, pieces in wanted.items()
        if source not in left
        for first, last in pieces
    )
    return Repaired(done.counted, offsets - done.failed_offsets, tuple(sorted(left)))


class _Back:
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
            if route.is_for(names.get(source.rpartition("/")[0], ""))
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
