"""A policy as a document: export, import, warm start, comparison."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Final

from policy_state.changes import scaled
from policy_state.errors import FingerprintMismatch, InvalidInput
from policy_state.offsets import Counted
from policy_state.settings import PolicySettings
from policy_state.stats import ExitStats
from policy_state.store import (
    DomainSnapshot,
    Limits,
    OpenedPolicy,
    PolicyMeta,
    is_same_model,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from policy_state.admin import PolicyAdmin
    from policy_state.store import StatsStore

KIND: Final = "offramp-policy"
VERSION: Final = 1
ON_MISMATCH: Final = ("stop", "new", "warm-start")
_FINGERPRINT_SHOWN: Final = 12  # characters
_PAGE: Final = 200


@dataclass(frozen=True, slots=True)
class PolicyDocument:
    """All of a policy at about one moment."""

    meta: PolicyMeta
    revision: int
    domains: Mapping[str, DomainSnapshot]
    watermarks: Mapping[str, Counted]
    consistent: bool  # nothing was counted while it was read


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import or a warm start did."""

    written: int  # domains
    left_out: tuple[str, ...]  # known already, or no room


def list_domains(store: StatsStore) -> list[str]:
    """Return every domain of the open policy, also while workers change the order."""
    names: dict[str, None] = {}
    offset = 0
    while page := store.domains(offset=offset, limit=10_000):
        names.update(dict.fromkeys(page))
        offset += len(page)
    return list(names)


def all_domains(store: StatsStore) -> Iterator[tuple[str, DomainSnapshot]]:
    """Yield every domain of the open policy with its snapshot, read page by page."""
    names = list_domains(store)
    for first in range(0, len(names), _PAGE):
        yield from store.read(names[first : first + _PAGE]).items()


def export_policy(store: PolicyAdmin) -> PolicyDocument:
    """Read all of the open policy.

    While workers count, a text may be above the watermarks and not in the counters, never twice.
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

    Domains that the policy knows are replaced or left out. Watermarks are taken for partitions that
    the policy has not counted anything of.

    Raises:
        FingerprintMismatch: The policy there belongs to another model.
    """
    meta = document.meta
    store.open(PolicyMeta(name, meta.fingerprint, meta.layers, meta.settings, meta.limits))
    store.adopt_watermarks(document.watermarks)
    done = _load(store, document.domains, replace_known=replace_known)
    store.note(
        "import", {"written": done.written, "left_out": len(done.left_out)}, by=by, reason=reason
    )
    return done


def warm_start(
    store: PolicyAdmin,
    source: PolicyDocument,
    *,
    weight: float,
    by: str,
    reason: str,
) -> Imported:
    """Give the open policy a share of what another one has learnt, for domains it has not seen.

    Raises:
        InvalidInput: The weight is no share, or the other policy has other exits.
    """
    meta = store.describe().meta
    if not 0 < weight <= 1:
        raise InvalidInput(f"weight {weight}, expected a share above 0, up to 1")
    if source.meta.exits != meta.exits:
        raise InvalidInput(
            f"policy {source.meta.name} has {source.meta.exits} exits, {meta.name} has "
            f"{meta.exits}: counters of one say nothing about the other"
        )
    shares = {
        name: DomainSnapshot(scaled(record.stats, weight), 0, record.last_seen_ms)
        for name, record in source.domains.items()
    }
    done = _load(store, {n: r for n, r in shares.items() if r.stats.texts}, replace_known=False)
    detail = {"from": source.meta.name, "weight": weight, "written": done.written}
    store.note("warm-start", detail, by=by, reason=reason)
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
            when it is created it starts from a share of what NAME has learnt.
        weight: That share.
        by: Who, for the audit.

    Raises:
        FingerprintMismatch: Under `stop`, or under `warm-start` where NAME has another number of
            exits: its counters say nothing about this model.
    """
    if on_mismatch not in ON_MISMATCH:
        raise InvalidInput(f"on mismatch {on_mismatch!r}, expected one of {', '.join(ON_MISMATCH)}")
    old = store.find(policy.name)
    if on_mismatch == "stop" or old is None or is_same_model(policy, old):
        return store.open(policy)
    fresh = replace(policy, name=f"{policy.name}@{policy.fingerprint[:_FINGERPRINT_SHOWN]}")
    if on_mismatch == "new" or store.find(fresh.name) is not None:
        return store.open(fresh)
    if old.exits != policy.exits:
        raise FingerprintMismatch(
            f"policy {old.name} has {old.exits} exits, this model has {policy.exits}: "
            f"{fresh.name} cannot start warm from it, only new"
        )
    store.open(old)
    source = export_policy(store)
    opened = store.open(fresh)
    if opened.created:
        warm_start(store, source, weight=weight, by=by, reason=f"new model {policy.fingerprint}")
    return opened


def to_document(document: PolicyDocument) -> dict[str, Any]:
    """Return it as plain values, for JSON."""
    meta = document.meta
    return {
        "kind": KIND,
        "version": VERSION,
        "policy": {
            "name": meta.name,
            "fingerprint": meta.fingerprint,
            "layers": list(meta.layers),
            "settings": asdict(meta.settings),
            "limits": asdict(meta.limits),
            "revision": document.revision,
        },
        "consistent": document.consistent,
        "watermarks": {
            source: {"upto": mark.upto, "gaps": [list(gap) for gap in mark.gaps]}
            for source, mark in document.watermarks.items()
        },
        "domains": {
            name: {
                "counters": record.stats.to_fields(),
                **{
                    field.name: value
                    for field in fields(record)
                    if field.name != "stats"
                    and (value := getattr(record, field.name)) not in (None, "", False)
                },
            }
            for name, record in sorted(document.domains.items())
        },
    }


def from_document(data: Any) -> PolicyDocument:  # noqa: ANN401 - whatever a file held
    """Read what `to_document` wrote; fields of a newer version are left out.

    Raises:
        InvalidInput: It is something else, with what is wrong.
    """
    if not isinstance(data, dict) or data.get("kind") != KIND:
        raise InvalidInput(f"not an export of a policy: kind is not {KIND!r}")
    if data.get("version") != VERSION:
        raise InvalidInput(f"export of version {data.get('version')!r}, expected {VERSION}")
    try:
        policy = data["policy"]
        layers = tuple(int(layer) for layer in policy["layers"])
        meta = PolicyMeta(
            name=policy["name"],
            fingerprint=policy["fingerprint"],
            layers=layers,
            settings=PolicySettings(**_known(policy["settings"], PolicySettings)),
            limits=Limits(**_known(policy["limits"], Limits)),
        )
        return PolicyDocument(
            meta=meta,
            revision=int(policy["revision"]),
            domains={
                name: DomainSnapshot(
                    stats=ExitStats.from_fields(record["counters"], exits=len(layers)),
                    epoch=int(record.get("epoch", 0)),
                    last_seen_ms=record.get("last_seen_ms"),
                    **{
                        key: record[key]
                        for key in _known(record, DomainSnapshot)
                        if key not in {"stats", "epoch", "last_seen_ms"}
                    },
                )
                for name, record in data["domains"].items()
            },
            watermarks={
                source: Counted(int(mark["upto"]), tuple((a, b) for a, b in mark["gaps"]))
                for source, mark in data["watermarks"].items()
            },
            consistent=bool(data.get("consistent", True)),
        )
    except InvalidInput:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InvalidInput(f"export is damaged: {type(error).__name__} {error}") from error


def _known(values: Mapping[str, Any], kind: Any) -> dict[str, Any]:  # noqa: ANN401 - a dataclass
    names = {field.name for field in fields(kind)}
    return {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in values.items()
        if name in names
    }


def _load(
    store: PolicyAdmin, records: Mapping[str, DomainSnapshot], *, replace_known: bool
) -> Imported:
    names: Sequence[str] = list(records)
    left_out: tuple[str, ...] = ()
    for first in range(0, len(names), _PAGE):
        page = {name: records[name] for name in names[first : first + _PAGE]}
        left_out += store.load(page, replace=replace_known)
    return Imported(written=len(names) - len(left_out), left_out=left_out)
