"""The worker's side of the store in memory: counters, snapshots, heartbeats."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from policy_state.domains import OVERFLOW_DOMAIN
from policy_state.errors import PolicyNotOpen
from policy_state.stats import ExitStats
from policy_state.store import admin
from policy_state.store.admin import SAMPLES, AuditEntry, Sample
from policy_state.store.offsets import Counted
from policy_state.store.values import (
    Applied,
    DomainSnapshot,
    Limits,
    OpenedPolicy,
    PartitionDeltas,
    PolicyMeta,
    Totals,
    check_heartbeat,
    check_same_model,
    checked_domains,
)
from tests.support.memory.adding import Adding

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence


_TRIM: Final = 8  # idle domains that one call removes at most, of each class


@dataclass(slots=True)
class State:
    """Everything kept for one policy."""

    opened: OpenedPolicy
    totals: Totals
    marks: dict[str, Counted] = field(default_factory=dict)
    domains: dict[str, DomainSnapshot] = field(default_factory=dict)  # latest change last
    audit: deque[AuditEntry] = field(default_factory=lambda: deque(maxlen=admin.AUDIT_ENTRIES))
    samples: deque[tuple[str, Sample]] = field(default_factory=lambda: deque(maxlen=SAMPLES))

    @property
    def meta(self) -> PolicyMeta:
        """What the counters belong to, and the settings in force."""
        return self.opened.meta

    @property
    def room(self) -> int:
        """How many more domains there may be; the shared one does not take another's place."""
        own = len(self.domains) - (OVERFLOW_DOMAIN in self.domains)
        return self.meta.limits.domains - own


def wall_clock_ms() -> int:
    """Return the time of day in milliseconds since 1970."""
    return time.time_ns() // 1_000_000


class MemoryStats:
    """Implements `StatsStore`; workers that share the object share what they learn."""

    def __init__(self, *, clock_ms: Callable[[], int] = wall_clock_ms) -> None:
        """Start empty."""
        self.clock_ms = clock_ms
        self.lock = threading.RLock()
        self._states: dict[str, State] = {}
        self._opened: State | None = None
        self._workers: dict[str, tuple[int, dict[str, str]]] = {}  # instance: (expiry, fields)

    def open(self, policy: PolicyMeta) -> OpenedPolicy:
        """Bind this store to a policy, creating it on first use."""
        with self.lock:
            state = self._states.get(policy.name)
            created = state is None
            if state is None:
                opened = OpenedPolicy(policy.name, policy, created=True, created_ms=self.clock_ms())
                state = State(opened, Totals(ExitStats.zeros(policy.exits), 0))
                self._states[policy.name] = state
            check_same_model(policy, state.meta)
            self._opened = state
            return replace(state.opened, created=created)

    def apply(
        self,
        parts: Sequence[PartitionDeltas],
        *,
        also_read: Collection[str] = (),
        rebuild: bool = False,
    ) -> Applied:
        """Add the parts that were not counted before, in one atomic step."""
        with self.lock:
            state = self.state()
            domains = checked_domains(parts, also_read, exits=state.meta.exits)
            now_ms = self.clock_ms()
            idle = _idle(state, set(domains), now_ms) if parts else []
            adding = Adding(
                {
                    name: unpinned(state.domains[name], now_ms)
                    for name in (*domains, OVERFLOW_DOMAIN)
                    if name in state.domains
                },
                state.marks,
                state.totals,
                room=state.room + len(idle),
                exits=state.meta.exits,
                rebuild=rebuild,
            )
            outcomes = tuple(adding.add(part) for part in parts)
            if adding.moved:
                for name in idle:
                    adding.forget(state.domains[name])
                adding.check_limits()
                for name in idle:
                    del state.domains[name]
                for name in adding.touched:
                    before = state.domains.pop(name, None)
                    record = replace(adding.records[name], last_seen_ms=now_ms)
                    state.domains[name] = record
                    if not rebuild and _takes_sample(before, record):
                        state.samples.append((name, Sample(now_ms, record)))
                state.marks.update(adding.marks)
                state.totals = adding.totals
            return Applied(
                outcomes=outcomes,
                snapshots={name: _shown(state, name, now_ms) for name in domains},
                refused=adding.refused,
                revision=state.opened.revision,
                settings=state.meta.settings,
                limits=state.meta.limits,
            )

    def read(self, domains: Collection[str]) -> Mapping[str, DomainSnapshot]:
        """Return the snapshot of each of the domains."""
        return self.apply((), also_read=domains).snapshots

    def domains(self, *, offset: int = 0, limit: int = 100) -> tuple[str, ...]:
        """Return a page of the domains."""
        with self.lock:
            state = self.state()
            names = list(reversed(state.domains))
            names.sort(key=lambda name: _order(state.domains[name], state.meta.limits))
            return tuple(names)[offset : offset + max(0, limit)]

    def totals(self) -> Totals:
        """Return the sums over all domains."""
        with self.lock:
            state = self.state()
            return replace(
                state.totals,
                domains=len(state.domains),
                marks=len(state.marks),
                gapped=sum(bool(mark.gaps) for mark in state.marks.values()),
            )

    def policies(self) -> tuple[PolicyMeta, ...]:
        """Return all policies of the store, by name."""
        with self.lock:
            return tuple(state.meta for _, state in sorted(self._states.items()))

    def find(self, name: str) -> PolicyMeta | None:
        """Return a policy, None where there is none of that name."""
        with self.lock:
            state = self._states.get(name)
            return None if state is None else state.meta

    def heartbeat(self, instance: str, fields: Mapping[str, str | int], *, ttl_s: float) -> None:
        """Show a worker as alive for `ttl_s` seconds."""
        check_heartbeat(instance, fields, ttl_s)
        with self.lock:
            expiry_ms = self.clock_ms() + int(ttl_s * 1000)
            shown = {name: str(value) for name, value in fields.items()}
            self._workers[instance] = (expiry_ms, shown)

    def workers(self) -> Mapping[str, Mapping[str, str]]:
        """Return the workers alive, by instance."""
        with self.lock:
            now_ms = self.clock_ms()
            self._workers = {i: kept for i, kept in self._workers.items() if kept[0] > now_ms}
            return {instance: fields for instance, (_, fields) in sorted(self._workers.items())}

    def state(self) -> State:
        """Return what is kept for the open policy."""
        if self._opened is None:
            raise PolicyNotOpen("no policy is open on this store: call open first")
        return self._opened


def _shown(state: State, name: str, now_ms: int) -> DomainSnapshot:
    unseen = DomainSnapshot.unseen(state.meta.exits)
    if name not in state.domains and state.room < 1:
        name = OVERFLOW_DOMAIN
    return unpinned(state.domains.get(name, unseen), now_ms)


def unpinned(record: DomainSnapshot, now_ms: int) -> DomainSnapshot:
    """Return the record, without a pin whose time is over."""
    if record.pin_until_ms is None or record.pin_until_ms > now_ms:
        return record
    return replace(record, pin=None, pin_until_ms=None, pin_reason="")


def _sample_step(texts: int) -> int:
    """Return a number that rises where a sample is kept; the same arithmetic as in `apply.lua`."""
    if texts < 16:
        return 0
    share, power = math.frexp(texts)
    return 2 * power + (share >= 0.75)


def _takes_sample(before: DomainSnapshot | None, after: DomainSnapshot) -> bool:
    texts = before.stats.observed[0] if before else 0
    return _sample_step(after.stats.observed[0]) > _sample_step(texts)


def _held(record: DomainSnapshot) -> bool:
    pinned = record.pin is not None and record.pin_until_ms is None
    return record.frozen or pinned or record.labels is not None


def _rare(record: DomainSnapshot, limits: Limits) -> bool:
    return record.pin_until_ms is None and record.stats.texts < limits.rare_texts


def _active_ms(record: DomainSnapshot) -> int:
    """Return when the domain was last active, or its pin ends."""
    return max(record.last_seen_ms or 0, record.pin_until_ms or 0)


def _order(record: DomainSnapshot, limits: Limits) -> tuple[bool, bool, int]:
    return not _held(record), _rare(record, limits), -_active_ms(record)


def _idle(state: State, asked: set[str], now_ms: int) -> list[str]:
    """Return domains to remove, a few at a time, those without a text for longest first."""
    limits = state.meta.limits
    found: dict[bool, list[str]] = {False: [], True: []}
    for name, record in state.domains.items():
        if now_ms - (record.last_seen_ms or 0) < min(limits.idle_ms, limits.rare_idle_ms):
            break  # the rest was active later
        rare = _rare(record, limits)
        over = now_ms - _active_ms(record) >= (limits.rare_idle_ms if rare else limits.idle_ms)
        if over and not _held(record) and name not in asked and len(found[rare]) < _TRIM:
            found[rare].append(name)
    return found[False] + found[True]
