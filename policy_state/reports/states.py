"""How the domains of a policy are doing, counted: most learn or have settled, some are held."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from policy_state.algorithms.arrays import Counters
from policy_state.algorithms.base import build
from policy_state.reports.diagnosis import alarmed
from policy_state.reports.domain import exit_of
from policy_state.reports.gate import gate_report
from policy_state.store.reading import read_pages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from policy_state.algorithms.base import Algorithm
    from policy_state.stats import ExitStats
    from policy_state.store.admin import PolicyAdmin
    from policy_state.store.values import DomainSnapshot, PolicyMeta

_NAMED: Final = 5
_FEW: Final = 20  # texts, with which no domain has settled


class State(StrEnum):
    """What a domain does. A domain has the first of these that is true of it."""

    PINNED = "pinned"  # all its texts take the exit that somebody chose
    FROZEN = "frozen"  # it counts nothing, so its choice stays
    DRIFTED = "drifted"  # its texts changed, so it was started afresh, and learns again
    LEARNING = "learning"  # it is not clear yet which exit is best
    SETTLED = "settled"  # all the rest


@dataclass(slots=True)
class Group:
    """Domains that have something in common: how many, and the names of the first few."""

    domains: int = 0
    names: list[str] = field(default_factory=list)

    def add(self, name: str) -> None:
        """Count one more."""
        self.domains += 1
        if len(self.names) < _NAMED:
            self.names.append(name)


@dataclass(frozen=True, slots=True)
class DomainStates:
    """All domains of a policy."""

    domains: int
    states: Mapping[State, Group]
    alarmed: Group  # whatever their state: `DomainReport.warnings` says something of them
    damaged: Group  # they cannot be read, and are in none of the others


def count_states(
    store: PolicyAdmin, promise_of: Callable[[str], float] | None = None
) -> DomainStates:
    """Return the states of all domains of a policy; takes a call per 200 domains.

    Args:
        store: Has opened a policy.
        promise_of: As for `broken_gates`; by default the promise of the policy.
    """
    meta, pool = store.describe().meta, store.totals().stats
    algorithm = build(meta.settings, meta.layers, credits=meta.calibrated)
    states = {state: Group() for state in State}
    warned, damaged, domains = Group(), Group(), 0
    for found, unreadable in read_pages(store):
        for name in unreadable:
            damaged.add(name)
        if not found:
            continue
        for name, state, alarm in states_of(
            found, meta, algorithm, pool=pool, promise_of=promise_of
        ):
            states[state].add(name)
            if alarm:
                warned.add(name)
        domains += len(found)
    return DomainStates(domains + damaged.domains, states, warned, damaged)


def states_of(
    found: Mapping[str, DomainSnapshot],
    meta: PolicyMeta,
    algorithm: Algorithm,
    *,
    pool: ExitStats,
    promise_of: Callable[[str], float] | None = None,
) -> Iterator[tuple[str, State, bool]]:
    """Yield each of some domains, its state, and whether there are warnings about it."""
    counters = Counters.of_many([snapshot.corrected for snapshot in found.values()])
    learning = (counters.observed[..., 0] < _FEW) | algorithm.learning(counters, pool=pool)
    alarms = alarmed(counters, algorithm)
    for i, (name, snapshot) in enumerate(found.items()):
        alarm = bool(alarms[i])
        if not alarm and any(snapshot.stats.gated):  # few have any, so one by one is quick enough
            promise = meta.settings.gate if promise_of is None else promise_of(name)
            exit_ = exit_of(snapshot, algorithm, pool=pool)
            gate = gate_report(snapshot, meta, exit_, promise)
            alarm = gate is not None and gate.broken
        yield name, _state(snapshot, learning=bool(learning[i])), alarm


def _state(snapshot: DomainSnapshot, *, learning: bool) -> State:
    if snapshot.pin is not None:
        return State.PINNED
    if snapshot.frozen:
        return State.FROZEN
    if learning:
        return State.DRIFTED if snapshot.drifts else State.LEARNING
    return State.SETTLED
