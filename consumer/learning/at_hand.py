"""What a batch has of each partition: which offsets it covers, and the texts among them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from policy_state.stats import ExitStats
from policy_state.store.port import PartitionDeltas

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from consumer.events.record import Prediction, Record
    from policy_state.store.offsets import Range

Partition = tuple[str, int]  # topic id, number


@dataclass(frozen=True, slots=True)
class AtHand:
    """What a batch has of one partition."""

    span: Range
    texts: Sequence[Prediction]
    epochs: Mapping[str, int]  # by domain, see `Counting.count`

    def of(self, span: Range) -> Sequence[Prediction]:
        """Return the texts of some offsets."""
        if span == self.span:
            return self.texts
        return [p for p in self.texts if span[0] <= p.event.record.offset < span[1]]

    def part(self, key: Partition, span: Range, *, exits: int) -> PartitionDeltas:
        """Return what the texts of some offsets of a partition, named by topic id, add."""
        labels: dict[str, list[tuple[int, ...]]] = {}
        for text in self.of(span):
            labels.setdefault(text.event.domain, []).append(text.exit_labels)
        deltas = {d: ExitStats.from_texts(rows, exits=exits) for d, rows in labels.items()}
        epochs = {d: self.epochs[d] for d in deltas if d in self.epochs}
        return PartitionDeltas(*key, *span, deltas, epochs)


NOTHING = AtHand((0, 0), (), {})


def at_hand(
    records: Sequence[Record],
    predictions: Sequence[Prediction],
    epochs: Mapping[str, int],
    *,
    begins: Mapping[Partition, int],
    topic_id: Callable[[str], str],
) -> dict[Partition, AtHand]:
    """Return what a batch has, by topic id and partition.

    Args:
        records: all of the batch, in order per partition.
        predictions: those that became texts.
        epochs: see `Counting.count`.
        begins: by topic id and partition, the first offset that the batch covers; what lies between
            it and the first record is known to be no text. Default: that record's own.
        topic_id: the id of a topic by its name, for records that do not tell it.
    """

    def key_of(record: Record) -> Partition:
        return record.topic_id or topic_id(record.topic), record.partition

    texts: dict[Partition, list[Prediction]] = {}
    for prediction in predictions:
        texts.setdefault(key_of(prediction.event.record), []).append(prediction)
    spans: dict[Partition, Range] = {}
    for r in records:
        key = key_of(r)
        first, _ = spans.get(key, (min(r.offset, begins.get(key, r.offset)), 0))
        spans[key] = (first, r.next_offset)
    return {key: AtHand(span, texts.get(key, ()), epochs) for key, span in spans.items()}
