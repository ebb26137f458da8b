"""What a worker has learnt and the store has not confirmed yet: a bounded buffer, no I/O."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

from policy_state.domains import OVERFLOW_DOMAIN
from policy_state.store.offsets import Status, uncovered
from policy_state.store.values import PartitionDeltas, PartitionOutcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from policy_state.stats import ExitStats
    from policy_state.store.offsets import Range


@dataclass(frozen=True, slots=True)
class PendingLimits:
    """How much is held. At 12 exits an entry, one domain of one part, takes about 1 KB."""

    entries: int = 100_000  # beyond them the texts of further domains are summed up as one
    parts: int = 1_000  # beyond them parts are joined although offsets between them are missing
    call_domains: int = 1_000  # in one part, and so about what one call to the store brings


class Pending:
    """Parts on their way to the store. Each goes out, and comes back answered, before it is gone.

    Parts of one partition that follow each other are summed once they are committed, so a long
    outage takes no more memory than a short one. One that is not may be another worker's to count,
    and a sum cannot be cut: so it stays apart. A part that was handed out by `parts` stays as it is
    until `settled`: the store may have it already, and recognises it by its offsets.

    >>> from policy_state.stats import ExitStats
    >>> one, pending = ExitStats.from_labels([0], exits=2), Pending()
    >>> for offset in range(3):
    ...     outcome = pending.add(PartitionDeltas("t1", 0, offset, offset + 1, {"hotels": one}))
    ...     pending.committed("t1/0", (offset, offset + 1))
    >>> [(part.first_offset, part.next_offset) for part in pending.parts()]
    [(0, 3)]
    """

    def __init__(self, limits: PendingLimits | None = None) -> None:
        """Start empty."""
        self._limits = limits or PendingLimits()
        self._sent: tuple[PartitionDeltas, ...] = ()
        self._held: list[PartitionDeltas] = []  # oldest first
        self._fresh: list[PartitionDeltas] = []  # not known to be committed, oldest first
        self.lost_texts = 0
        """Texts given up: counted by others in part, or decided before a reset."""

    def __len__(self) -> int:
        """Return how many parts are held, those handed out included."""
        return len(self._all)

    @property
    def _all(self) -> tuple[PartitionDeltas, ...]:
        return (*self._sent, *self._held, *self._fresh)

    @property
    def texts(self) -> int:
        """How many texts are held."""
        return sum(map(_texts, self._all))

    @property
    def entries(self) -> int:
        """How many sums are held: one per domain of a part."""
        return sum(len(part.deltas) for part in self._all)

    def add(self, part: PartitionDeltas) -> PartitionOutcome:
        """Hold a part, unless offsets of it are held already; the answers are those of a store."""
        same = [held for held in self._all if held.source == part.source]
        missing = uncovered(
            (part.first_offset, part.next_offset),
            [(held.first_offset, held.next_offset) for held in same],
        )
        upto = max([part.next_offset, *(held.next_offset for held in same)])
        if not missing:
            return PartitionOutcome(Status.DUPLICATE, upto)
        if missing != ((part.first_offset, part.next_offset),):
            return PartitionOutcome(Status.OVERLAP, upto, missing)
        self._fresh.append(self._within_limits(part))
        while len(self._fresh) > self._limits.parts:  # of commits that failed, one after the other
            self.give_up(self._fresh.pop(0))
        return PartitionOutcome(Status.APPLIED, upto)

    def committed(self, source: str, span: Range) -> None:
        """Take note that the predictions of some offsets of a partition are committed."""
        first, following = span
        for part in [part for part in self._fresh if part.source == source]:
            if first <= part.first_offset and part.next_offset <= following:
                self._fresh.remove(part)
                self._keep(part)
        while len(self._held) > self._limits.parts and self._join_oldest():
            pass

    def _keep(self, part: PartitionDeltas) -> None:
        index = next((i for i, held in enumerate(self._held) if self._follows(held, part)), None)
        if index is None:
            self._held.append(part)
        else:
            self._held[index] = self._joined(self._held[index], part)

    def parts(self) -> tuple[PartitionDeltas, ...]:
        """Return what to send now: what was handed out and not settled, else the oldest parts."""
        if not self._sent:
            domains = 0
            for number, part in enumerate(self._all):
                domains += len(part.deltas)
                if number and domains > self._limits.call_domains:
                    break
                self._sent += (part,)
            of_fresh = max(0, len(self._sent) - len(self._held))
            del self._held[: len(self._sent)], self._fresh[:of_fresh]
        return self._sent

    def settled(
        self, outcomes: Sequence[PartitionOutcome]
    ) -> tuple[tuple[PartitionDeltas, PartitionOutcome], ...]:
        """Let go of what was handed out, now that the store has answered.

        Returns the overlaps. Whoever still has their texts adds the `missing` pieces as new parts;
        otherwise they are lost: call `give_up`.
        """
        answered = tuple(zip(self._sent, outcomes, strict=True))
        self._sent = ()
        return tuple(
            (part, outcome) for part, outcome in answered if outcome.status is Status.OVERLAP
        )

    def give_up(self, part: PartitionDeltas, *, but: int = 0) -> None:
        """Enter a part as lost, `but` for texts of it that were brought otherwise."""
        self.lost_texts += _texts(part) - but

    def _follows(self, held: PartitionDeltas, part: PartitionDeltas) -> bool:
        return (
            held.source == part.source
            and held.next_offset == part.first_offset
            and len(held.deltas.keys() | part.deltas.keys()) <= self._limits.call_domains
        )

    def _joined(self, first: PartitionDeltas, second: PartitionDeltas) -> PartitionDeltas:
        deltas, epochs = dict(first.deltas), dict(first.epochs)
        for domain, delta in second.deltas.items():
            old, epoch = deltas.get(domain), second.epochs.get(domain)
            if epoch is not None and epoch > epochs.get(domain, epoch):
                self.lost_texts += old.all_texts if old else 0
                old = None
            deltas[domain] = old + delta if old else delta
            if epoch is not None:
                epochs[domain] = max(epoch, epochs.get(domain, epoch))
        return replace(
            first,
            next_offset=max(first.next_offset, second.next_offset),
            deltas=deltas,
            epochs=epochs,
        )

    def _join_oldest(self) -> bool:
        """Join the two parts of one partition that are nearest to each other; False if none can.

        The offsets between them are then taken as counted: nobody else may have held the partition
        meanwhile, or the store will call the sum an overlap.
        """
        in_order = sorted(self._held, key=lambda part: (part.source, part.first_offset))
        pairs = [(a, b) for a, b in pairwise(in_order) if a.source == b.source]
        if not pairs:
            return False
        first, second = min(pairs, key=lambda pair: pair[1].first_offset - pair[0].next_offset)
        self._held[self._held.index(first)] = self._joined(first, second)
        self._held.remove(second)
        return True

    def _within_limits(self, part: PartitionDeltas) -> PartitionDeltas:
        """Return the part, its new domains summed up as one where there is no room for them."""
        room = self._limits.entries - self.entries
        if len(part.deltas) <= room:
            return part
        known = {domain for held in self._all for domain in held.deltas}
        deltas: dict[str, ExitStats] = {}
        for domain, delta in part.deltas.items():
            name = domain if domain in known else OVERFLOW_DOMAIN
            deltas[name] = deltas[name] + delta if name in deltas else delta
        epochs = {domain: epoch for domain, epoch in part.epochs.items() if domain in known}
        return replace(part, deltas=deltas, epochs=epochs)


def _texts(part: PartitionDeltas) -> int:
    return sum(delta.all_texts for delta in part.deltas.values())
