"""The history of changes, an audit as a stream in Redis: what is in it, what it has lost."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from policy_state.store.admin import AUDIT_ENTRIES
from policy_state.store.kept import latest, order
from policy_state.store.redis import wire

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from policy_state.store.kept import Key, Records
    from policy_state.store.redis.stats import Server

_PAGE: Final = 500


@dataclass(frozen=True, slots=True)
class Audit:
    """The audit of a policy, or of a group's routes; a copy has its entries by `prefix` and id."""

    server: Server
    stream: str  # its key; empty if the store has no such policy
    prefix: Key

    def known(self, kept: Records) -> list[str]:
        """Return the ids of the entries that a copy has."""
        return [key[-1] for key in kept if key[:-1] == self.prefix]

    def has_latest(self, kept: Records) -> bool:
        """Return whether the latest entry of a copy is there; so it is of a copy without any."""
        id_ = latest(self.known(kept))
        return id_ is None or any(self.entries(id_, id_))

    def missing(self, kept: Records) -> dict[str, Mapping[str, str]]:
        """Return a copy's entries that the store has lost, but for older ones than it keeps."""
        there = {id_ for id_, _ in self.entries()}
        newest = sorted(self.known(kept), key=order)[-AUDIT_ENTRIES:]
        return {id_: kept[*self.prefix, id_] for id_ in newest if id_ not in there}

    def news(self, kept: Records) -> dict[Key, dict[str, str] | None]:
        """Return the entries after those of a copy, and its oldest that are too many."""
        known = self.known(kept)
        last = latest(known)
        new = dict(self.entries("-" if last is None else f"({last}"))
        found: dict[Key, dict[str, str] | None] = {
            (*self.prefix, id_): dict(new[id_]) for id_ in sorted(new, key=order)[-AUDIT_ENTRIES:]
        }
        beyond = len(known) + len(found) - AUDIT_ENTRIES
        oldest = sorted(known, key=order)[: max(0, beyond)]
        return found | {(*self.prefix, id_): None for id_ in oldest}

    def entries(self, first: str = "-", last: str = "+") -> Iterator[tuple[str, Mapping[str, str]]]:
        """Yield the entries from `first` to `last`, the newest first."""
        if not self.stream:
            return
        while page := self.server.command("XREVRANGE", self.stream, last, first, "COUNT", _PAGE):
            yield from page
            last = f"({page[-1][0]}"

    def restore(self, missing: Mapping[str, Mapping[str, str]], entry: Mapping[str, str]) -> int:
        """Bring back entries that are missing, and add one about that; return how many."""
        rows = [[id_, wire.flat(fields)] for id_, fields in missing.items()]
        args = [AUDIT_ENTRIES, json.dumps(rows), *wire.flat(entry)]
        return int(self.server.script("history.lua", [self.stream], args))
