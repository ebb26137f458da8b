"""A policy with four exits, and how tests count texts in it and change it."""

from collections.abc import Callable, Mapping

from policy_state.stats import ExitStats
from policy_state.store.admin import Change, PolicyAdmin
from policy_state.store.values import DomainSnapshot, PartitionDeltas, PolicyMeta

META = PolicyMeta("sentiment", "f1", (1, 3, 7, 12))
ONE = ExitStats.from_labels([0, 1, 1], exits=4)
DEEP = ExitStats.from_labels([1, 1, 0, 0], exits=4)
ZERO = ExitStats.zeros(4)

MakeStore = Callable[[], PolicyAdmin]


def part(
    first: int,
    upto: int,
    deltas: Mapping[str, ExitStats] | None = None,
    partition: int = 0,
    *,
    topic: str = "t1",
    **epochs: int,
) -> PartitionDeltas:
    """Return one part of a call to apply."""
    return PartitionDeltas(topic, partition, first, upto, deltas or {}, epochs)


def change(store: PolicyAdmin, domain: str, what: Change) -> DomainSnapshot:
    """Change a domain and return what it then is."""
    return store.change(domain, what, by="anna", reason="a good reason").after


def balance(store: PolicyAdmin) -> int:
    """Return how many texts the ledger and the domains differ by; 0 where nothing is missing."""
    totals = store.totals()
    held = sum(d.stats.texts for d in store.read(store.domains(limit=1000)).values())
    return totals.stats.texts + totals.brought - totals.gone - held
