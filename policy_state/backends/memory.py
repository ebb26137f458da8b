"""The statistics store in this process's memory: for tests, replays and a worker on its own."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from policy_state.errors import CounterOverflow, PolicyNotOpen
from policy_state.stats import COUNT_MAX, ExitStats
from policy_state.store import (
    Applied,
    DomainSnapshot,
    OpenedPolicy,
    PartitionDeltas,
    PartitionOutcome,
    PolicyMeta,
    Status,
    Totals,
    check_heartbeat,
    check_same_model,
    checked_domains,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence


@dataclass(slots=True)
class _State:
    """Everything kept for one policy."""

    meta: PolicyMeta
    total: ExitStats
    watermarks: dict[str, int] = field(default_factory=dict)
    domains: dict[str, DomainSnapshot] = field(default_factory=dict)  # least recently active first


def wall_clock_ms() -> int:
    """Return the time of day in milliseconds since 1970."""
    return time.time_ns() // 1_000_000


class MemoryStore:
    """Implements `StatsStore`; workers that share the object share what they learn."""

    def __init__(self, *, clock_ms: Callable[[], int] = wall_clock_ms) -> None:
        """Start empty."""
        self._clock_ms = clock_ms
        self._lock = threading.Lock()
        self._states: dict[str, _State] = {}
        self._opened: _State | None = None
        self._workers: dict[str, tuple[int, dict[str, str]]] = {}  # instance: (expiry, fields)

    def open(self, policy: PolicyMeta) -> OpenedPolicy:
        """Bind this store to a policy, creating it on first use."""
        with self._lock:
            state = self._states.get(policy.name)
            created = state is None
            if state is None:
                state = _State(meta=policy, total=ExitStats.zeros(policy.exits))
                self._states[policy.name] = state
            check_same_model(policy, state.meta)
            self._opened = state
            return OpenedPolicy(id=policy.name, meta=state.meta, created=created)

    def apply(self, parts: Sequence[PartitionDeltas], *, watch: Collection[str] = ()) -> Applied:
        """Add the parts that were not counted before, in one atomic step."""
        with self._lock:
            state = self._state()
            exits = state.meta.exits
            domains = checked_domains(parts, watch, exits=exits)
            marks: dict[str, int] = {}
            outcomes: list[PartitionOutcome] = []
            added: dict[str, ExitStats] = {}
            for part in parts:
                upto = marks.get(part.source, state.watermarks.get(part.source, 0))
                if part.next_offset <= upto:
                    outcomes.append(PartitionOutcome(Status.DUPLICATE, upto))
                elif part.first_offset < upto:
                    outcomes.append(PartitionOutcome(Status.OVERLAP, upto))
                else:
                    marks[part.source] = part.next_offset
                    outcomes.append(PartitionOutcome(Status.APPLIED, part.next_offset))
                    for domain, delta in part.deltas.items():
                        added[domain] = added.get(domain, ExitStats.zeros(exits)) + delta
            added = {domain: delta for domain, delta in added.items() if delta.to_fields()}
            total = sum(added.values(), state.total)
            _check_limit("all domains", total)
            changed = {
                domain: state.domains.get(domain, DomainSnapshot.unseen(exits)).stats + delta
                for domain, delta in added.items()
            }
            for domain, stats in changed.items():
                _check_limit(domain, stats)
            now_ms = self._clock_ms()
            for domain, stats in changed.items():
                old = state.domains.pop(domain, DomainSnapshot.unseen(exits))
                state.domains[domain] = DomainSnapshot(stats, old.epoch, last_seen_ms=now_ms)
            state.watermarks.update(marks)
            state.total = total
            return Applied(tuple(outcomes), _snapshots(state, domains))

    def read(self, domains: Collection[str]) -> Mapping[str, DomainSnapshot]:
        """Return the snapshot of each of the domains."""
        return self.apply((), watch=domains).snapshots

    def domains(self, *, offset: int = 0, limit: int = 100) -> tuple[str, ...]:
        """Return a page of the domains seen so far, the most recently active first."""
        with self._lock:
            return tuple(reversed(self._state().domains))[offset : offset + limit]

    def totals(self) -> Totals:
        """Return the sum over all domains."""
        with self._lock:
            state = self._state()
            return Totals(stats=state.total, domains=len(state.domains))

    def policies(self) -> tuple[PolicyMeta, ...]:
        """Return all policies of the store, by name."""
        with self._lock:
            return tuple(state.meta for _, state in sorted(self._states.items()))

    def heartbeat(self, instance: str, fields: Mapping[str, str | int], *, ttl_s: float) -> None:
        """Show a worker as alive for `ttl_s` seconds."""
        check_heartbeat(instance, fields, ttl_s)
        with self._lock:
            expiry_ms = self._clock_ms() + int(ttl_s * 1000)
            shown = {name: str(value) for name, value in fields.items()}
            self._workers[instance] = (expiry_ms, shown)

    def workers(self) -> Mapping[str, Mapping[str, str]]:
        """Return the workers alive, by instance."""
        with self._lock:
            now_ms = self._clock_ms()
            self._workers = {i: kept for i, kept in self._workers.items() if kept[0] > now_ms}
            return {instance: fields for instance, (_, fields) in sorted(self._workers.items())}

    def _state(self) -> _State:
        if self._opened is None:
            raise PolicyNotOpen("no policy is open on this store: call open first")
        return self._opened


def _snapshots(state: _State, domains: tuple[str, ...]) -> dict[str, DomainSnapshot]:
    unseen = DomainSnapshot.unseen(state.meta.exits)
    return {domain: state.domains.get(domain, unseen) for domain in domains}


def _check_limit(place: str, stats: ExitStats) -> None:
    for name, count in stats.to_fields().items():
        if count > COUNT_MAX:
            raise CounterOverflow(f"{place}: {name} would be {count}, limit {COUNT_MAX}")
