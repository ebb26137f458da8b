"""Counters from predictions: what Redis lost is counted again from the topic of predictions."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from policy_state.offsets import Counted
from policy_state.stats import ExitStats
from policy_state.store import PartitionDeltas, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from policy_state.admin import PolicyAdmin
    from policy_state.offsets import Range

_PIECE: Final = 65_536  # offsets counted in one step
_CALL_DOMAINS: Final = 500


@dataclass(frozen=True, slots=True)
class PredictedText:
    """One text as its prediction tells of it."""

    topic_id: str
    partition: int
    offset: int
    domain: str
    exit_labels: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a rebuild did."""

    counted: int  # texts
    known: int  # texts that were counted before
    repeated: int  # further predictions of one and the same text
    beyond: int  # texts that are left to the workers
    failed_offsets: int  # offsets that a worker counted in part meanwhile: run it again


class _Partition:
    """The offsets of one partition that are to be counted, in pieces, and their sums."""

    def __init__(self, mark: Counted, upto: int) -> None:
        self.upto = upto
        self.seen: dict[int, bytearray] = {}  # a bit per offset, in pages
        wanted = [*mark.gaps, (mark.upto, upto)]
        self.pieces: list[Range] = [
            (max(start, first), min(start + _PIECE, following, upto))
            for first, following in wanted
            if first < upto
            for start in range(first - first % _PIECE, min(following, upto), _PIECE)
        ]
        self.starts = [first for first, _ in self.pieces]
        self.sums: list[dict[str, ExitStats]] = [{} for _ in self.pieces]

    def is_repeated(self, offset: int) -> bool:
        """Return whether the offset was seen before, and note it."""
        page = self.seen.setdefault(offset // _PIECE, bytearray(_PIECE // 8))
        byte, bit = divmod(offset % _PIECE, 8)
        was = bool(page[byte] >> bit & 1)
        page[byte] |= 1 << bit
        return was

    def sums_at(self, offset: int) -> dict[str, ExitStats] | None:
        """Return the sums of the piece that holds an offset; None where it was counted before."""
        place = bisect_right(self.starts, offset) - 1
        return self.sums[place] if place >= 0 and offset < self.pieces[place][1] else None


def rebuild(
    store: PolicyAdmin,
    texts: Iterable[PredictedText],
    *,
    upto: Mapping[tuple[str, int], int],
    left_out: Callable[[], Collection[str]] = tuple,
    replay: bool = True,
) -> Rebuilt:
    """Count every text that is not counted yet. Workers may count on meanwhile.

    What is counted already, be it before the loss or by workers since, is left as it is; so a
    rebuild can be repeated. To count everything anew call `restart` on the store first.

    Args:
        store: With the policy open.
        texts: In any order. Of several predictions of one offset the first counts.
        upto: By topic id and partition, the offset up to which `texts` is complete: what the
            group has committed. Texts from there on are left to the workers.
        left_out: Asked when all texts are read: partitions, by watermark name, of which not all
            texts were to be had. Nothing of them is counted.
        replay: See `StatsStore.apply`.
    """
    exits = store.describe().meta.exits
    marks = store.watermarks()
    partitions = {
        (topic_id, number): _Partition(marks.get(f"{topic_id}/{number}", Counted()), end)
        for (topic_id, number), end in upto.items()
    }
    known = repeated = beyond = 0
    for text in texts:
        partition = partitions.get((text.topic_id, text.partition))
        if partition is None or text.offset >= partition.upto:
            beyond += 1
        elif partition.is_repeated(text.offset):
            repeated += 1
        elif (sums := partition.sums_at(text.offset)) is None:
            known += 1
        else:
            one = ExitStats.from_labels(text.exit_labels, exits=exits)
            sums[text.domain] = sums[text.domain] + one if text.domain in sums else one
    not_whole = set(left_out())
    parts = [
        PartitionDeltas(topic_id, number, first, following, sums)
        for (topic_id, number), partition in partitions.items()
        if f"{topic_id}/{number}" not in not_whole
        for (first, following), sums in zip(partition.pieces, partition.sums, strict=True)
    ]
    failed = 0
    counted = sum(stats.texts for part in parts for stats in part.deltas.values())
    for call in _calls(parts):
        for part, outcome in zip(call, store.apply(call, replay=replay).outcomes, strict=True):
            if outcome.status is not Status.APPLIED:
                failed += part.next_offset - part.first_offset
                counted -= sum(stats.texts for stats in part.deltas.values())
    return Rebuilt(counted, known, repeated, beyond, failed)


def _calls(parts: Sequence[PartitionDeltas]) -> Iterable[list[PartitionDeltas]]:
    """Yield the parts in calls that take the store not much longer than a worker's."""
    call: list[PartitionDeltas] = []
    domains = 0
    for part in parts:
        if call and (domains + len(part.deltas) > _CALL_DOMAINS or len(call) == _CALL_DOMAINS):
            yield call
            call, domains = [], 0
        call.append(part)
        domains += len(part.deltas)
    if call:
        yield call
