"""The operator's side of the store as calls of scripts; knows no client library."""

from __future__ import annotations

import json
from dataclasses import asdict
from itertools import islice
from typing import TYPE_CHECKING, Any

from policy_state.domains import domain_key, encode_domain
from policy_state.errors import StoreCorrupt
from policy_state.store.admin import (
    AUDIT_ENTRIES,
    SAMPLES,
    AuditEntry,
    Change,
    Changed,
    Label,
    Sample,
    changed_settings,
    check_change,
    check_signed,
)
from policy_state.store.offsets import format_gaps, read_counted
from policy_state.store.redis import wire
from policy_state.store.redis.groups import RedisGroups, audit_entry
from policy_state.store.values import DomainSnapshot, Limits, OpenedPolicy, checked_domains

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from policy_state.algorithms.settings import PolicySettings
    from policy_state.store.offsets import Counted

_PAGE = 500
_SHOWN = 5  # damaged watermarks that an error names


class RedisAdmin(RedisGroups):
    """Implements `PolicyAdmin`; see `RedisStore`."""

    def describe(self) -> OpenedPolicy:
        """Return the open policy with the settings in force now."""
        keys, meta = self.bound()
        return self.look(keys, meta.name)

    def change(
        self, domain: str, change: Change, *, by: str, reason: str, automatic: bool = False
    ) -> Changed:
        """Change one domain's record."""
        _, meta = self.bound()
        domain_key(domain)
        check_change(change, exits=meta.exits)
        given = {name: value for name, value in asdict(change).items() if value is not None}
        action = type(change).__name__.lower()
        arguments = given | {"note": wire.encode_note(reason), "automatic": automatic}
        if isinstance(change, Label):
            arguments["labels"] = change.labels.to_text()
        before, after, done = self._change(action, arguments, given, domain, by, reason)
        return Changed(wire.snapshot(before), wire.snapshot(after), bool(done))

    def configure(
        self, settings: PolicySettings, limits: Limits, *, revision: int, by: str, reason: str
    ) -> OpenedPolicy:
        """Put settings in force for all workers, if the policy is still at `revision`."""
        opened = self.describe()
        changes = changed_settings(opened.meta, settings, limits)
        if not changes and opened.revision == revision:
            check_signed(by, reason)
            return opened
        stored = self.server.command("HGETALL", self.bound()[0].key("meta"))
        fields = wire.flat(wire.settings_fields(settings, limits, stored))
        given = {"revision": str(revision), "fields": fields}
        self._change("configure", given, changes, None, by, reason)
        return self.describe()

    def load(self, records: Mapping[str, DomainSnapshot], *, replace: bool) -> tuple[str, ...]:
        """Write whole domains from elsewhere; return those that were left out."""
        keys, meta = self.bound()
        names = checked_domains((), records, exits=meta.exits)
        reply = self.server.script(
            "load.lua",
            [*keys.several("meta", "idx", "agg"), *map(keys.domain, names)],
            [
                meta.fingerprint,
                int(replace),
                json.dumps([wire.record_groups(records[name]) for name in names]),
            ],
        )
        wire.raise_problem(reply, meta)
        return tuple(names[number - 1] for number in reply[1])

    def watermarks(self) -> Mapping[str, Counted]:
        """Return what is counted of each partition."""
        keys, _ = self.bound()
        gaps = self.server.command("HGETALL", keys.key("gaps"))
        marks = self.server.command("HGETALL", keys.key("wm"))
        found, damaged = {}, []
        for source, upto in sorted(marks.items()):
            try:
                found[source] = read_counted(upto, gaps.get(source, ""))
            except ValueError as error:
                damaged.append(f"{source}: {error}")
        if damaged:
            raise StoreCorrupt(f"{keys.key('wm')}: {'; '.join(damaged[:_SHOWN])}")
        return found

    def adopt_watermarks(self, marks: Mapping[str, Counted]) -> None:
        """Take these for the partitions that nothing was counted of so far."""
        keys, meta = self.bound()
        flat: list[str | int] = []
        for source, mark in marks.items():
            flat += [source, mark.upto, format_gaps(mark.gaps)]
        reply = self.server.script("marks.lua", keys.several("meta", "wm", "gaps", "agg"), flat)
        wire.raise_problem(reply, meta)

    def restart(self, *, by: str, reason: str) -> None:
        """Set all counters to zero and all offsets below the watermarks to not counted."""
        self._change("restart", {}, {}, None, by, reason)

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
        self._change(action, {"automatic": automatic}, detail, None, by, reason)

    def audit(self, *, domain: str | None = None, limit: int = 100) -> tuple[AuditEntry, ...]:
        """Return the latest changes, the newest first."""
        entries = (audit_entry(id_, fields) for id_, fields in self._latest("audit"))
        wanted = (entry for entry in entries if domain is None or entry.domain == domain)
        return tuple(islice(wanted, limit))

    def samples(self, domain: str, *, limit: int = 100) -> tuple[Sample, ...]:
        """Return the latest samples of a domain, the newest first."""
        name = encode_domain(domain)
        samples = (
            Sample(int(id_.partition("-")[0]), wire.snapshot(fields["record"]))
            for id_, fields in self._latest("samples", page=SAMPLES)
            if fields.get("domain") == name
        )
        return tuple(islice(samples, limit))

    def _latest(self, stream: str, *, page: int = _PAGE) -> Iterator[tuple[str, Mapping[str, str]]]:
        """Yield the entries of a stream, the newest first, read page by page."""
        key, last = self.bound()[0].key(stream), "+"
        while entries := self.server.command("XREVRANGE", key, last, "-", "COUNT", page):
            yield from entries
            last = f"({entries[-1][0]}"

    def _change(  # noqa: PLR0913, PLR0917 - private: what the script takes, in its order
        self,
        action: str,
        arguments: Mapping[str, Any],
        detail: Mapping[str, Any],
        domain: str | None,
        by: str,
        reason: str,
    ) -> tuple[str, str, int]:
        """Return the domain's snapshots before and after, as the script writes them; 1 if done."""
        keys, meta = self.bound()
        check_signed(by, reason)
        entry = {"action": action, "by": by, "reason": reason, "detail": json.dumps(detail)}
        if domain is not None:
            entry["domain"] = domain
        reply = self.server.script(
            "change.lua",
            [
                *keys.several("meta", "wm", "gaps", "idx", "agg", "audit"),
                *([keys.domain(domain)] if domain is not None else []),
            ],
            [
                wire.token(),
                AUDIT_ENTRIES,
                action,
                json.dumps({**arguments, "exits": meta.exits, "size": wire.SIZE}),
                *wire.flat(entry),
            ],
        )
        wire.raise_problem(reply, meta)
        return reply[1], reply[2], reply[3]
