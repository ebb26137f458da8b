"""The stores in this process's memory: the model that the scripts are held against."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from policy_state.domains import domain_key
from policy_state.errors import DomainNotFound, SettingsConflict, StoreFull
from policy_state.stats import ExitStats
from policy_state.store import admin
from policy_state.store.admin import AuditEntry, Change, Changed, Freeze, Pin, Reset, Sample
from policy_state.store.changes import changed
from policy_state.store.offsets import Counted
from policy_state.store.values import DomainSnapshot, Limits, OpenedPolicy, Totals, checked_domains
from tests.support.memory.routes import MemoryRoutes
from tests.support.memory.stats import unpinned

if TYPE_CHECKING:
    from collections.abc import Mapping

    from policy_state.algorithms.settings import PolicySettings


class MemoryStore(MemoryRoutes):
    """Implements `PolicyAdmin`, `RouteStore` and `PositionStore`.

    Who shares the object shares what is in it.
    """

    def describe(self) -> OpenedPolicy:
        """Return the open policy with the settings in force now."""
        with self.lock:
            state = self.state()
            return dataclasses.replace(state.opened, created=False, changes=len(state.audit))

    def change(
        self, domain: str, change: Change, *, by: str, reason: str, automatic: bool = False
    ) -> Changed:
        """Change one domain's record."""
        domain_key(domain)
        with self.lock:
            state = self.state()
            admin.check_change(change, exits=state.meta.exits)
            admin.check_signed(by, reason)
            before = state.domains.get(domain)
            unseen = DomainSnapshot.unseen(state.meta.exits)
            if before is None:
                if not isinstance(change, Pin | Freeze):
                    raise DomainNotFound(f"policy {state.meta.name} has no such domain")
                if state.room < 1:
                    raise StoreFull(f"policy {state.meta.name} has no room for another domain")
            old = unpinned(before or unseen, self.clock_ms())
            if isinstance(change, Reset) and change.epoch not in {None, old.epoch}:
                return Changed(old, old, done=False)
            new = changed(old, change, reason=reason, now_ms=self.clock_ms(), automatic=automatic)
            if new == old and before is not None:
                return Changed(old, old, done=False)
            if new is None or new == unseen:
                state.domains.pop(domain, None)
            else:
                state.domains[domain] = new
            left = old.stats.observed[0] - (new.stats.observed[0] if new else 0)
            state.totals = dataclasses.replace(state.totals, gone=state.totals.gone + left)
            detail = {name: value for name, value in asdict(change).items() if value is not None}
            action = type(change).__name__.lower()
            self._log(
                action, detail, domain, by, reason, old if left else None, automatic=automatic
            )
            return Changed(old, new or unseen)

    def configure(
        self, settings: PolicySettings, limits: Limits, *, revision: int, by: str, reason: str
    ) -> OpenedPolicy:
        """Put settings in force for all workers, if the policy is still at `revision`."""
        with self.lock:
            state = self.state()
            admin.check_signed(by, reason)
            if state.opened.revision != revision:
                raise SettingsConflict(
                    f"policy {state.meta.name}: somebody changed the settings, revision "
                    f"{state.opened.revision} is in force; nothing was written"
                )
            detail = admin.changed_settings(state.meta, settings, limits)
            if not detail:
                return self.describe()
            meta = dataclasses.replace(state.meta, settings=settings, limits=limits)
            state.opened = dataclasses.replace(state.opened, meta=meta, revision=revision + 1)
            self._log("configure", detail, None, by, reason)
            return self.describe()

    def load(self, records: Mapping[str, DomainSnapshot], *, replace: bool) -> tuple[str, ...]:
        """Write whole domains from elsewhere; return those that were left out."""
        with self.lock:
            state = self.state()
            left_out = []
            ledger: dict[str, int] = defaultdict(int)
            for name in checked_domains((), records, exits=state.meta.exits):
                known = state.domains.get(name)
                if (known is not None and not replace) or (known is None and state.room < 1):
                    left_out.append(name)
                    continue
                ledger["gone"] += known.stats.observed[0] if known else 0
                ledger["brought"] += records[name].stats.observed[0]
                last_ms = records[name].last_seen_ms
                state.domains[name] = dataclasses.replace(
                    records[name], last_seen_ms=self.clock_ms() if last_ms is None else last_ms
                )
            state.totals = dataclasses.replace(
                state.totals,
                gone=state.totals.gone + ledger["gone"],
                brought=state.totals.brought + ledger["brought"],
            )
            return tuple(left_out)

    def watermarks(self) -> Mapping[str, Counted]:
        """Return what is counted of each partition."""
        with self.lock:
            return dict(sorted(self.state().marks.items()))

    def adopt_watermarks(self, marks: Mapping[str, Counted]) -> None:
        """Take these for the partitions that nothing was counted of so far."""
        with self.lock:
            state = self.state()
            state.marks = dict(marks) | state.marks

    def restart(self, *, by: str, reason: str) -> None:
        """Set all counters to zero and all offsets below the watermarks to not counted."""
        with self.lock:
            state = self.state()
            zeros = ExitStats.zeros(state.meta.exits)
            state.domains = {
                name: dataclasses.replace(d, stats=zeros) for name, d in state.domains.items()
            }
            state.marks = {
                s: Counted(m.upto, ((0, m.upto),)) for s, m in state.marks.items() if m.upto
            }
            state.totals = Totals(zeros, 0)
            self._log("restart", {}, None, by, reason)

    def note(
        self,
        action: str,
        detail: Mapping[str, Any],
        *,
        by: str,
        reason: str,
        automatic: bool = False,
    ) -> None:
        """Write to the audit what was done in many steps."""
        with self.lock:
            admin.check_signed(by, reason)
            self._log(action, detail, None, by, reason, automatic=automatic)

    def audit(self, *, domain: str | None = None, limit: int = 100) -> tuple[AuditEntry, ...]:
        """Return the latest changes, the newest first."""
        with self.lock:
            entries = reversed(self.state().audit)
            return tuple(e for e in entries if domain is None or e.domain == domain)[:limit]

    def samples(self, domain: str, *, limit: int = 100) -> tuple[Sample, ...]:
        """Return the latest samples of a domain, the newest first."""
        with self.lock:
            kept = reversed(self.state().samples)
            return tuple(sample for name, sample in kept if name == domain)[:limit]

    def _log(  # noqa: PLR0913, PLR0917 - private: the fields of an entry, in their order
        self,
        action: str,
        detail: Mapping[str, Any],
        domain: str | None,
        by: str,
        reason: str,
        before: DomainSnapshot | None = None,
        *,
        automatic: bool = False,
    ) -> None:
        now_ms = self.clock_ms()
        entry = AuditEntry(now_ms, action, domain, by, reason, dict(detail), before, automatic)
        self.state().audit.append(entry)
