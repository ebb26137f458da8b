"""Reads many domains at once, and one with everything that it is judged by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from policy_state.domains import OVERFLOW_DOMAIN
from policy_state.errors import PolicyNotFound, StoreCorrupt
from policy_state.stats import COUNT_MAX, ExitStats
from policy_state.store.values import DomainSnapshot, OpenedPolicy
from policy_state.suggesting import no_such_policy

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from policy_state.store.admin import PolicyAdmin
    from policy_state.store.port import StatsStore
    from policy_state.store.values import PolicyMeta

_PAGE: Final = 200


def find_policy(store: StatsStore, name: str) -> PolicyMeta:
    """Return what a policy is that exists.

    Raises:
        PolicyNotFound: the store has no policy of that name.
        StoreError: the store could not answer.
    """
    found = store.find(name)
    if found is None:
        raise PolicyNotFound(no_such_policy(name, [meta.name for meta in store.policies()]))
    return found


@dataclass(frozen=True, slots=True)
class Reading:
    """Domains of a policy, and what their counters are judged by."""

    opened: OpenedPolicy  # with layers, and with the settings in force
    pool: ExitStats  # everything that was counted, of all domains together
    snapshots: dict[str, DomainSnapshot]  # of domains that have a record: counters, epoch, pin, ..
    damaged: dict[str, str]  # why others cannot be read


def read_domains(store: PolicyAdmin, names: Sequence[str]) -> Reading:
    """Return everything about some domains; a name that is not known is in none of its parts.

    Each snapshot is of one moment. Where there is no room for more domains, a store answers for an
    unknown one with the record that these share: it is no record of theirs.
    """
    opened = store.describe()
    found, damaged = read_each(store, [*dict.fromkeys([*names, OVERFLOW_DOMAIN])])
    shared = found.get(OVERFLOW_DOMAIN)
    unseen = DomainSnapshot.unseen(opened.meta.exits)
    known = {
        name: found[name]
        for name in names
        if name in found
        and found[name] != unseen
        and (name == OVERFLOW_DOMAIN or found[name] != shared)
    }
    damaged = {name: damaged[name] for name in names if name in damaged}
    return Reading(opened, store.totals().stats, known, damaged)


def read_each(
    store: StatsStore, names: Sequence[str]
) -> tuple[dict[str, DomainSnapshot], dict[str, str]]:
    """Return the snapshots of the domains, and why others cannot be read, both in order.

    Takes one call where all is well, and some ten more for each domain that is damaged.
    """
    if not names:
        return {}, {}
    try:
        return dict(store.read(names)), {}
    except StoreCorrupt as error:
        if len(names) == 1:
            return {}, {names[0]: str(error)}
    half = len(names) // 2
    (found, damaged), (more, also) = read_each(store, names[:half]), read_each(store, names[half:])
    return found | more, damaged | also


def read_pages(
    store: StatsStore,
) -> Iterator[tuple[dict[str, DomainSnapshot], dict[str, str]]]:
    """Yield what `read_each` returns of every domain of the open policy, page by page."""
    for page in _pages(store):
        yield read_each(store, page)


def all_domains(store: StatsStore) -> Iterator[tuple[str, DomainSnapshot]]:
    """Yield every domain of the open policy with its snapshot, read page by page."""
    for page in _pages(store):
        yield from store.read(page).items()


def _pages(store: StatsStore) -> Iterator[tuple[str, ...]]:
    """Yield the names of every domain in pages.

    They are listed in one call: a list read page by page would miss those that a text moves to its
    front between.
    """
    names = store.domains(limit=COUNT_MAX)
    for first in range(0, len(names), _PAGE):
        yield names[first : first + _PAGE]
