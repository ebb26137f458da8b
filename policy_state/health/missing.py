"""Finds single keys that are missing, evicted or deleted by hand, from what other keys say."""

from __future__ import annotations

import json
from dataclasses import asdict
from shlex import quote
from typing import TYPE_CHECKING, Any, Final

from policy_state.health.findings import COUNT_ANEW, Finding, note, problem
from policy_state.store.admin import AUDIT_ENTRIES
from policy_state.store.reading import read_each
from policy_state.wording import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from policy_state.store.admin import AuditEntry, PolicyAdmin
    from policy_state.store.groups import RouteStore
    from policy_state.store.values import DomainSnapshot, Totals

_ALL_ENTRIES: Final = 2 * AUDIT_ENTRIES  # more than are ever kept
_SOON_MS: Final = 60_000  # a pin that ends meanwhile, or by a clock that is ahead
_STARTS_ANEW: Final = {"import", "import-begin"}  # what these write is not told domain by domain


def without_marks(totals: Totals, marks: int, held: int) -> str | None:
    """Return how counters are without their watermarks; None where none are missing.

    Args:
        totals: Of the policy, read before the watermarks.
        marks: How many watermarks there are.
        held: How many texts the domains hold; matters only where there are no watermarks.
    """
    if marks < totals.marks:
        return f"{totals.marks - marks} of {totals.marks} watermarks are missing"
    if not marks and held + totals.gone > totals.brought:
        return (
            f"{counted(held + totals.gone - totals.brought, 'text')} were counted, but there are "
            "no watermarks"
        )
    return None


def missing_findings(store: PolicyAdmin, *, held: int, now_ms: int | None) -> list[Finding]:
    """Return what is missing of a policy: watermarks, gaps, meta, audit, pins, settings.

    Args:
        store: With the policy open. Workers may count meanwhile: what is found is looked for twice.
        held: How many texts the domains hold.
        now_ms: The time; None: not known, then pins for a time are not looked at.
    """
    return [
        *_twice(lambda: list(_mark_findings(store, held))),
        *_twice(lambda: list(_audit_findings(store, now_ms))),
    ]


def route_findings(store: RouteStore, group: str) -> Iterator[Finding]:
    """Yield what is missing of the routes of a group."""
    stored = store.routes(group)
    if stored.lost:
        text = (
            "the routes are missing although their history exists; no worker starts without routes"
        )
        yield problem("routes", group, text, "offramp route add")
    elif stored.revision and not store.route_history(group, limit=1):
        yield note("routes", group, "the history of the routes is missing")


def eviction_findings(policies: Collection[str]) -> Iterator[Finding]:
    """Yield what is wrong with what the servers do when they are full (`maxmemory-policy`)."""
    fix = "redis-cli config set maxmemory-policy noeviction"
    for policy in sorted(policies):
        text = f"maxmemory-policy is {policy}"
        if policy.startswith("allkeys-"):
            text += ": when Redis is full, it deletes what was learnt, key by key"
            yield problem("memory", "redis", text, fix)
        elif policy != "noeviction":
            text += ": when Redis is full, it deletes heartbeats, the only keys that expire"
            yield note("memory", "redis", text, fix)


def _twice(look: Callable[[], Sequence[Finding]]) -> list[Finding]:
    """Return what is found in two looks, so that changes between reads are not findings."""
    found = look()
    again = look() if found else ()
    return [finding for finding in found if finding in again]


def _mark_findings(store: PolicyAdmin, held: int) -> Iterator[Finding]:
    totals = store.totals()
    marks = store.watermarks()
    if why := without_marks(totals, len(marks), held):
        text = f"{why}, so texts would be counted twice"
        yield problem("watermark", "watermarks", text, COUNT_ANEW)
        return
    gapped = sum(bool(mark.gaps) for mark in marks.values())
    if gapped < totals.gapped:
        text = (
            f"the gaps of {counted(totals.gapped - gapped, 'partition')} are "
            "missing, so texts in them that were never counted look counted"
        )
        yield problem("gaps", "watermarks", text, COUNT_ANEW)


def _audit_findings(store: PolicyAdmin, now_ms: int | None) -> Iterator[Finding]:
    opened = store.describe()
    entries = store.audit(limit=_ALL_ENTRIES)
    expected = min(opened.changes, AUDIT_ENTRIES)
    if len(entries) < expected:
        text = f"{expected - len(entries)} of the latest {expected} changes are missing"
        yield note("audit", "all domains", text)
    for entry in entries:
        if entry.action in {"rebuild", "repair"}:  # gaps show what these have left
            break
        if entry.action == "meta-lost":
            text = (
                "it was missing and was created again, with counters at 0 and a worker's settings"
            )
            yield problem("meta", "all domains", text, "offramp policy rebuild")
            break
    yield from _setting_findings(entries, asdict(opened.meta.settings) | asdict(opened.meta.limits))
    yield from _pin_findings(store, entries, now_ms)


def _setting_findings(entries: Sequence[AuditEntry], in_force: dict[str, Any]) -> Iterator[Finding]:
    """Yield the settings that are not what the audit says they were set to last."""
    told: dict[str, Any] = {}
    for entry in entries:
        if entry.action == "configure":
            told = {name: new for name, (_, new) in entry.detail.items()} | told
    for name, value in told.items():
        if name not in in_force or json.dumps(in_force[name]) == json.dumps(value):
            continue
        said, now = ("none" if v is None else json.dumps(v) for v in (value, in_force[name]))
        text = f"{name} is {now}, but the audit says it was set to {said}"
        fix = f"offramp policy set {name}={quote(said)}"
        yield problem("settings", "all domains", text, fix)


def _pin_findings(
    store: PolicyAdmin, entries: Sequence[AuditEntry], now_ms: int | None
) -> Iterator[Finding]:
    """Yield the domains that are pinned, frozen or labelled by the audit alone."""
    pins: dict[str, AuditEntry] = {}
    freezes: dict[str, AuditEntry] = {}
    labels: dict[str, AuditEntry] = {}
    for entry in entries:
        if entry.action in _STARTS_ANEW:
            break
        if entry.domain is None:
            continue
        if entry.action in {"pin", "unpin", "remove"}:
            pins.setdefault(entry.domain, entry)
        if entry.action in {"freeze", "unfreeze", "remove"}:
            freezes.setdefault(entry.domain, entry)
        if entry.action in {"label", "unlabel", "reset", "remove"}:
            labels.setdefault(entry.domain, entry)
    pinned = {d: e for d, e in pins.items() if e.action == "pin" and _lasts(e, now_ms)}
    frozen = {d: e for d, e in freezes.items() if e.action == "freeze"}
    labelled = {d: e for d, e in labels.items() if e.action == "label"}
    records, _ = read_each(store, list({**pinned, **frozen, **labelled}))
    for domain, record in records.items():
        yield from _not_held(domain, record, pinned.get(domain), frozen.get(domain))
        if domain in labelled and record.labels is None:
            text = "has no labels, though the audit says so: its key was lost meanwhile"
            yield problem("labels", domain, text, "offramp policy evaluate --apply")


def _not_held(
    domain: str, record: DomainSnapshot, pin: AuditEntry | None, freeze: AuditEntry | None
) -> Iterator[Finding]:
    if pin is not None and record.pin != pin.detail.get("exit"):
        exit_ = pin.detail.get("exit")
        text = (
            f"is not pinned to exit {exit_}, though the audit says so: its key was lost meanwhile"
        )
        yield problem(
            "pin", domain, text, f"offramp pin {quote(domain)} --exit {exit_} --reason WHY"
        )
    if freeze is not None and not record.frozen:
        text = "is not frozen, though the audit says so: its key was lost meanwhile"
        yield problem("pin", domain, text, f"offramp policy freeze {quote(domain)}")


def _lasts(pin: AuditEntry, now_ms: int | None) -> bool:
    for_ms = pin.detail.get("for_ms")
    return for_ms is None or (now_ms is not None and pin.time_ms + for_ms > now_ms + _SOON_MS)
