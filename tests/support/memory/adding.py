"""What `apply.lua` decides, on values in memory: which texts count, and under which name."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from policy_state.counting import THOUSAND
from policy_state.domains import OVERFLOW_DOMAIN
from policy_state.errors import CounterOverflow, InvalidInput
from policy_state.stats import COUNT_MAX, MOST, ExitStats
from policy_state.store.offsets import Counted, Status
from policy_state.store.values import (
    DomainSnapshot,
    PartitionDeltas,
    PartitionOutcome,
    Refusal,
    Totals,
)
from tests.support.memory.marks import judged

if TYPE_CHECKING:
    from collections.abc import Mapping


class Adding:
    """One call to apply in the making; what it was made from stays as it is."""

    def __init__(  # noqa: PLR0913 - the state it starts from
        self,
        records: Mapping[str, DomainSnapshot],
        marks: Mapping[str, Counted],
        totals: Totals,
        *,
        room: int,
        exits: int,
        rebuild: bool,
    ) -> None:
        """Start from the records of the domains in question, and of `OVERFLOW_DOMAIN`."""
        self.records = dict(records)
        self.marks: dict[str, Counted] = {}
        self.totals = totals
        self.refused: dict[str, Refusal] = {}
        self.touched: dict[str, None] = {}  # domains with a text, in order
        self.moved = False
        self._old_marks = marks
        self._room = room
        self._unseen = DomainSnapshot.unseen(exits)
        self._rebuild = rebuild

    def add(self, part: PartitionDeltas) -> PartitionOutcome:
        """Add a part, if it was not counted before."""
        known = self.marks.get(part.source) or self._old_marks.get(part.source)
        mark = known or Counted()
        found = judged(mark, part.first_offset, part.next_offset)
        gap = max(0, part.first_offset - mark.upto) if known else 0
        if found.status is Status.APPLIED:
            self.moved = True
            self.marks[part.source] = found.after
            self.totals = replace(self.totals, lost=self.totals.lost + found.lost)
            for domain, delta in part.deltas.items():
                if delta.to_fields():
                    self._add(domain, delta, part.epochs.get(domain, -1))
        return PartitionOutcome(found.status, found.after.upto, found.missing, gap)

    def forget(self, record: DomainSnapshot) -> None:
        """Enter into the totals that a domain goes."""
        self.totals = replace(self.totals, gone=self.totals.gone + record.stats.observed[0])

    def check_limits(self) -> None:
        """Raise `CounterOverflow` where a count is too large."""
        sums = {name: self.records[name].stats for name in self.touched}
        for place, stats in (*sums.items(), ("all domains", self.totals.stats)):
            for name, count in stats.to_fields().items():
                if count > COUNT_MAX:
                    raise CounterOverflow(f"{place}: {name} would be {count}, limit {COUNT_MAX}")

    def _add(self, domain: str, delta: ExitStats, epoch: int) -> None:
        record = self.records.get(domain)
        if record is None:
            domain, record = self._new(domain, epoch)
        elif record.frozen and not self._rebuild:
            self._skip(domain, delta, Refusal.FROZEN)
            return
        elif 0 <= epoch < record.epoch:
            self._skip(domain, delta, Refusal.STALE_EPOCH)
            return
        for kind, most in MOST.items():
            for count, observed in zip(getattr(delta, kind), delta.observed, strict=True):
                if most == THOUSAND and count > most * observed:
                    raise InvalidInput(f"{domain}: {count} thousandths for {observed} texts")
        self.records[domain] = replace(record, stats=record.stats + delta)
        self.touched[domain] = None
        self.totals = replace(self.totals, stats=self.totals.stats + delta)

    def _new(self, domain: str, epoch: int) -> tuple[str, DomainSnapshot]:
        if self._room < 1 and domain != OVERFLOW_DOMAIN:
            self.refused[domain] = Refusal.OVER_CAP
            return OVERFLOW_DOMAIN, self.records.get(OVERFLOW_DOMAIN, self._unseen)
        self._room -= 1
        return domain, replace(self._unseen, epoch=max(0, epoch))

    def _skip(self, domain: str, delta: ExitStats, refusal: Refusal) -> None:
        self.refused[domain] = refusal
        self.touched[domain] = None
        self.totals = replace(self.totals, skipped=self.totals.skipped + delta.observed[0])
