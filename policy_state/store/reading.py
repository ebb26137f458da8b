"""Reads many domains so that one that cannot be read hides no other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from policy_state.errors import StoreCorrupt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from policy_state.store.port import DomainSnapshot, StatsStore


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
