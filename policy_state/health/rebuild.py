"""Counters from predictions: what Redis lost is counted again from the topic of predictions."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from policy_state.domains import OVERFLOW_DOMAIN
from policy_state.errors import StoreCorrupt
from policy_state.health.findings import COUNT_ANEW
from policy_state.health.missing import without_marks
from policy_state.predicted import counts_of
from policy_state.store.offsets import Counted, Status
from policy_state.store.reading import all_domains, read_pages
from policy_state.store.values import PartitionDeltas, Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from policy_state.stats import ExitStats
    from policy_state.store.admin import PolicyAdmin
    from policy_state.store.offsets import Range

_PIECE: Final = 65_536  # offsets counted in one step
_TOGETHER: Final = 20_000  # texts that are kept, to be added up together
_CALL_DOMAINS: Final = 500


@dataclass(frozen=True, slots=True)
class PredictedText:
    """One text, as its prediction describes it."""

    topic_id: str
    partition: int
    offset: int
    domain: str
    exit_labels: tuple[int, ...]
    exit_scores: tuple[int, ...] = ()
    exit_credits: tuple[int, ...] = ()
    chosen_exit: int | None = None
    gate: int | None = None


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a rebuild did."""

    counted: int  # texts
    known: int  # texts that were counted before
    repeated: int  # further predictions of one and the same text
    beyond: int  # texts that are left to the workers
    failed_offsets: int  # offsets that a worker counted in part meanwhile: run it again


class _Offsets:
    """Offsets of one partition that were seen: a bit for each, in pages."""

    def __init__(self) -> None:
        self._seen: dict[int, bytearray] = {}

    def is_repeated(self, offset: int) -> bool:
        """Return whether the offset was seen before, and note it."""
        page = self._seen.setdefault(offset // _PIECE, bytearray(_PIECE // 8))
        byte, bit = divmod(offset % _PIECE, 8)
        was = bool(page[byte] >> bit & 1)
        page[byte] |= 1 << bit
        return was


class _Partition(_Offsets):
    """The offsets of one partition that are to be counted, in pieces, and their sums."""

    def __init__(self, mark: Counted, upto: int) -> None:
        super().__init__()
        self.upto = upto
        wanted = [*mark.gaps, (mark.upto, upto)]
        self.pieces: list[Range] = [
            (max(start, first), min(start + _PIECE, following, upto))
            for first, following in wanted
            if first < upto
            for start in range(first - first % _PIECE, min(following, upto), _PIECE)
        ]
        self.starts = [first for first, _ in self.pieces]
        self.sums: list[dict[str, ExitStats]] = [{} for _ in self.pieces]
        self._waiting: defaultdict[tuple[int, str], list[PredictedText]] = defaultdict(list)

    def add(self, text: PredictedText) -> bool:
        """Take a text; return False where it was counted before."""
        piece = bisect_right(self.starts, text.offset) - 1
        if piece < 0 or text.offset >= self.pieces[piece][1]:
            return False
        self._waiting[piece, text.domain].append(text)
        return True

    def fold(self, exits: int) -> None:
        """Enter the texts taken so far into the sums: many are added together much faster."""
        for (piece, domain), texts in self._waiting.items():
            sums, many = self.sums[piece], counts_of(texts, exits=exits)
            sums[domain] = sums[domain] + many if domain in sums else many
        self._waiting.clear()


def rebuild(
    store: PolicyAdmin,
    texts: Iterable[PredictedText],
    *,
    upto: Mapping[tuple[str, int], int],
    left_out: Callable[[], Collection[str]] = tuple,
    frozen_too: bool = True,
) -> Rebuilt:
    """Count every text that is not counted yet. Workers may count on meanwhile.

    Texts that are counted already, before the loss or by workers since, are not counted again, so
    a rebuild can be repeated. To count everything anew, call `restart` on the store first. A domain
    that is reset meanwhile keeps none of the texts, because they all came before the reset.

    Args:
        store: With the policy open.
        texts: In any order. Of several predictions of one offset the first counts.
        upto: By topic id and partition, the offset up to which `texts` is complete: what the
            group has committed. Texts from there on are left to the workers.
        left_out: Called after all texts are read. Returns the partitions, by watermark name, some
            of whose texts were not available; nothing of these is counted.
        frozen_too: Whether frozen domains count their texts, as in a rebuild and not in a repair.

    Raises:
        StoreCorrupt: Counters are without watermarks, so texts would be counted twice; nothing was
            written.
    """
    exits = store.describe().meta.exits
    marks = checked_marks(store)
    partitions = {
        (topic_id, number): _Partition(marks.get(f"{topic_id}/{number}", Counted()), end)
        for (topic_id, number), end in upto.items()
    }
    known, repeated, beyond = _summed(texts, partitions, exits)
    not_whole = set(left_out())
    parts = [
        PartitionDeltas(topic_id, number, first, following, sums)
        for (topic_id, number), partition in partitions.items()
        if f"{topic_id}/{number}" not in not_whole
        for (first, following), sums in zip(partition.pieces, partition.sums, strict=True)
    ]
    failed = counted = 0
    epochs: dict[str, int] = {}  # of the first texts: a reset since then is one of the others, too
    for call in _calls(parts):
        of_epochs = [
            replace(part, epochs={d: epochs[d] for d in part.deltas if d in epochs})
            for part in call
        ]
        answer = store.apply(of_epochs, rebuild=frozen_too)
        stale = {d for d, why in answer.refused.items() if why is Refusal.STALE_EPOCH}
        for part, outcome in zip(call, answer.outcomes, strict=True):
            if outcome.status is Status.APPLIED:
                counted += sum(s.all_texts for d, s in part.deltas.items() if d not in stale)
            else:
                failed += part.next_offset - part.first_offset
        epochs = {d: now.epoch for d, now in answer.snapshots.items()} | epochs
    return Rebuilt(counted, known, repeated, beyond, failed)


def _summed(
    texts: Iterable[PredictedText], partitions: Mapping[tuple[str, int], _Partition], exits: int
) -> tuple[int, int, int]:
    """Sum up all texts that are to be counted; return how many were known, repeated and beyond."""
    known = repeated = beyond = 0
    for number, text in enumerate(texts):
        if not number % _TOGETHER:
            for partition in partitions.values():
                partition.fold(exits)
        of = partitions.get((text.topic_id, text.partition))
        if of is None or text.offset >= of.upto:
            beyond += 1
        elif of.is_repeated(text.offset):
            repeated += 1
        elif not of.add(text):
            known += 1
    for partition in partitions.values():
        partition.fold(exits)
    return known, repeated, beyond


def checked_marks(store: PolicyAdmin) -> Mapping[str, Counted]:
    """Return what is counted of each partition.

    Raises:
        StoreCorrupt: Counters are without their watermarks, so texts would be counted twice.
    """
    totals = store.totals()
    marks = store.watermarks()
    held = 0
    if not marks:  # looked at again after the domains: workers may have begun meanwhile
        held = sum(record.stats.all_texts for _, record in all_domains(store))
        marks = store.watermarks()
    if why := without_marks(totals, len(marks), held):
        raise StoreCorrupt(
            f"{why}, so texts would be counted twice. Nothing was counted. `{COUNT_ANEW}` sets all "
            "counters to zero and counts all texts again"
        )
    return marks


@dataclass(frozen=True, slots=True)
class Loss:
    """A domain that has counted more texts than there are predictions of."""

    counted: int | None  # None: its record cannot be read
    found: int

    @property
    def texts(self) -> int:
        """How many texts it would lose."""
        return (self.counted or 0) - self.found


def counted_texts(store: PolicyAdmin) -> dict[str, int | None]:
    """Return how many texts each domain has counted; None where its record cannot be read."""
    counted: dict[str, int | None] = {}
    for found, damaged in read_pages(store):
        counted |= {name: record.stats.all_texts for name, record in found.items()}
        counted |= dict.fromkeys(damaged)
    return counted


def found_texts(texts: Iterable[PredictedText]) -> Counter[str]:
    """Return how many texts each domain has; of several predictions of a text the first counts."""
    seen: defaultdict[tuple[str, int], _Offsets] = defaultdict(_Offsets)
    return Counter(
        text.domain
        for text in texts
        if not seen[text.topic_id, text.partition].is_repeated(text.offset)
    )


def losses(counted: Mapping[str, int | None], found: Mapping[str, int]) -> dict[str, Loss]:
    """Return the domains that a fresh count would make smaller, or drop.

    Texts of `OVERFLOW_DOMAIN` are found under names of their own: as many as these have not counted
    themselves. Of a record that cannot be read any text that is found is one more.

    >>> losses({"a": 5, "b": 2, "c": 0, "d": None}, {"a": 4, "b": 9})
    {'a': Loss(counted=5, found=4), 'd': Loss(counted=None, found=0)}
    """
    own = {name: texts or 0 for name, texts in counted.items() if name != OVERFLOW_DOMAIN}
    beyond = sum(max(0, texts - own.get(name, 0)) for name, texts in found.items())
    there = {**found, OVERFLOW_DOMAIN: beyond}
    return {
        name: Loss(texts, there.get(name, 0))
        for name, texts in counted.items()
        if there.get(name, 0) < (1 if texts is None else texts)
    }


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
