"""Whole policies to and fro: export, import, warm start."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from policy_state.errors import FingerprintMismatch, InvalidInput
from policy_state.store.admin import AUDIT_ENTRIES, check_signed
from policy_state.store.changes import scaled
from policy_state.store.reading import all_domains
from policy_state.store.values import (
    DomainSnapshot,
    OpenedPolicy,
    PolicyMeta,
    checked_domains,
    is_same_model,
)
from policy_state.transfer.document import PolicyDocument
from policy_state.wording import counted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from policy_state.store.admin import PolicyAdmin

ON_MISMATCH: Final = ("stop", "new", "warm-start")
_FINGERPRINT_SHOWN: Final = 12  # characters
_PAGE: Final = 200
_MEASURED: Final = ("held", "parted", "gated")  # of a model, for reports: nothing is learnt from it
_WARM_START_BEGIN: Final = "warm-start-begin"  # in the audit, before the first domain
_WARM_START: Final = "warm-start"  # after the last


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import or a warm start did."""

    written: int  # domains
    left_out: tuple[str, ...]  # known already, or no room


def export_policy(store: PolicyAdmin) -> PolicyDocument:
    """Read all of the open policy.

    While workers count, a text may be below the watermarks and not in the counters, never twice.
    """
    opened = store.describe()
    before = store.totals()
    domains = dict(all_domains(store))
    marks = store.watermarks()
    return PolicyDocument(
        meta=opened.meta,
        revision=opened.revision,
        domains=domains,
        watermarks=marks,
        consistent=before == store.totals(),
    )


def import_policy(  # noqa: PLR0913 - what, where, how, who and why
    store: PolicyAdmin,
    document: PolicyDocument,
    *,
    name: str,
    replace_known: bool,
    by: str,
    reason: str,
) -> Imported:
    """Write a document into the policy `name`, creating it where there is none.

    Domains that the policy knows are replaced or left out. Watermarks are taken, at the end, for
    partitions that the policy has not counted anything of: after an import that did not end no
    text passes for counted that is not.

    Raises:
        FingerprintMismatch: The policy there belongs to another model.
        InvalidInput: A domain, who, or why cannot be; nothing was written.
    """
    meta = document.meta
    check_signed(by, reason)
    checked_domains((), document.domains, exits=meta.exits)
    store.open(replace(meta, name=name))
    begun = {"of": meta.name, "domains": len(document.domains), "replace_known": replace_known}
    store.note("import-begin", begun, by=by, reason=reason)
    done = _load(store, document.domains, replace_known=replace_known)
    store.adopt_watermarks(document.watermarks)
    written = {"written": done.written, "left_out": len(done.left_out)}
    store.note("import", written, by=by, reason=reason)
    return done


def warm_start(  # noqa: PLR0913 - what, from what, how much, who and why
    store: PolicyAdmin,
    source: PolicyDocument,
    *,
    weight: float,
    by: str,
    reason: str,
    automatic: bool = False,
) -> Imported:
    """Give the open policy a share of what another one has learnt, for domains it has not seen.

    What is measured for reports stays behind: the holdout of one model says nothing of another.

    Raises:
        InvalidInput: The weight is no share, or the other policy has other exits, or only one of
            both models is calibrated.
    """
    meta = store.describe().meta
    check_signed(by, reason)
    if not 0 < weight <= 1:
        raise InvalidInput(f"weight {weight}, expected a share above 0, up to 1")
    if differs := _incomparable(source.meta, meta):
        raise InvalidInput(f"{differs}: counters of one say nothing about the other")
    shares = {
        name: DomainSnapshot(
            replace(scaled(record.stats, weight), **dict.fromkeys(_MEASURED, ())),
            0,
            record.last_seen_ms,
        )
        for name, record in source.domains.items()
    }
    begun = {"from": source.meta.name, "weight": weight}
    store.note(_WARM_START_BEGIN, begun, by=by, reason=reason, automatic=automatic)
    done = _load(store, {n: r for n, r in shares.items() if r.stats.texts}, replace_known=False)
    ended = begun | {"written": done.written}
    store.note(_WARM_START, ended, by=by, reason=reason, automatic=automatic)
    return done


def open_or_start_new(
    store: PolicyAdmin, policy: PolicyMeta, *, on_mismatch: str, weight: float = 0.1, by: str
) -> OpenedPolicy:
    """Open a policy; where its counters belong to another model do what `on_mismatch` says.

    Args:
        store: Any.
        policy: What to open.
        on_mismatch: `stop`: raise. `new`: open `NAME@FINGERPRINT`, created on first use, so that
            workers of two models run side by side during a roll-out. `warm-start`: the same, and
            it starts from a share of what NAME has learnt; a start that a worker did not live to
            finish is finished by the next one.
        weight: That share.
        by: Who, for the audit.

    Raises:
        FingerprintMismatch: Under `stop`, or under `warm-start` where NAME has another number of
            exits, or only one of the two models is calibrated: its counters say nothing here.
    """
    if on_mismatch not in ON_MISMATCH:
        raise InvalidInput(f"on mismatch {on_mismatch!r}, expected one of {', '.join(ON_MISMATCH)}")
    old = store.find(policy.name)
    if on_mismatch == "stop" or old is None or is_same_model(policy, old):
        return store.open(policy)
    fresh = replace(policy, name=f"{policy.name}@{policy.fingerprint[:_FINGERPRINT_SHOWN]}")
    if on_mismatch == "new":
        return store.open(fresh)
    if store.find(fresh.name) is not None:
        opened = store.open(fresh)
        if _incomparable(old, fresh) or _has_begun(store):
            return opened
    if differs := _incomparable(old, fresh):
        raise FingerprintMismatch(
            f"{differs}: {fresh.name} cannot start warm from {old.name}; "
            "`--set store.on_mismatch=new` starts it from nothing"
        )
    store.open(old)
    source = export_policy(store)
    opened = store.open(fresh)
    reason = f"new model {policy.fingerprint}"
    warm_start(store, source, weight=weight, by=by, reason=reason, automatic=True)
    return opened


def _incomparable(one: PolicyMeta, other: PolicyMeta) -> str:
    """Return why counters of one policy say nothing about the other; empty where they do."""
    if one.exits != other.exits:
        return f"policy {one.name} has {counted(one.exits, 'exit')}, {other.name} has {other.exits}"
    if one.calibrated != other.calibrated:
        is_, is_not = (one, other) if one.calibrated else (other, one)
        return f"the model of policy {is_.name} is calibrated, that of {is_not.name} is not"
    return ""


def _has_begun(store: PolicyAdmin) -> bool:
    """Return whether the open policy needs no warm start: it had its own, or began without."""
    actions = {entry.action for entry in store.audit(limit=AUDIT_ENTRIES)}
    if _WARM_START in actions:
        return True
    return _WARM_START_BEGIN not in actions and store.totals().stats.texts > 0


def _load(
    store: PolicyAdmin, records: Mapping[str, DomainSnapshot], *, replace_known: bool
) -> Imported:
    names: Sequence[str] = list(records)
    left_out: tuple[str, ...] = ()
    for first in range(0, len(names), _PAGE):
        page = {name: records[name] for name in names[first : first + _PAGE]}
        left_out += store.load(page, replace=replace_known)
    return Imported(written=len(names) - len(left_out), left_out=left_out)
