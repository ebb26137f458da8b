"""`offramp pin, unpin`, `offramp policy freeze, unfreeze, reset, remove`: previewed first."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import typer

from consumer.cli.commands import CHANGE, Commands
from consumer.cli.output import (
    Output,
    OutputOption,
    clock,
    duration_ms,
    emit,
    printable,
    said,
    span,
)
from consumer.cli.policy.domain import Domain, not_known
from consumer.cli.session import OnPolicy, Signed, changing, confirm
from policy_state.wording import counted

if TYPE_CHECKING:
    from policy_state.store.admin import Change
    from policy_state.store.reading import Reading
    from policy_state.store.redis.store import RedisStore
    from policy_state.store.values import DomainSnapshot

PIN_EXAMPLES = """Examples:

`offramp pin hotels --exit 3 --for 2h --reason "incident 12"`

`offramp pin hotels --exit 3 --reason "contract" --yes`
"""
UNPIN_EXAMPLES = """Examples:

`offramp unpin hotels --yes`
"""
FREEZE_EXAMPLES = """Examples:

`offramp policy freeze hotels --reason "labels are being checked"`
"""
UNFREEZE_EXAMPLES = """Examples:

`offramp policy unfreeze hotels --yes`
"""
RESET_EXAMPLES = """Examples:

`offramp policy reset hotels --reason "new kind of reviews"`

`offramp policy reset hotels --keep 0.1 --yes`
"""
REMOVE_EXAMPLES = """Examples:

`offramp policy remove hotles --reason "a typing error" --yes`
"""

app = Commands()


def _not_blank(reason: str) -> str:
    if not reason.strip():
        raise typer.BadParameter("the reason is blank; say why you make the change")
    return reason


@dataclass(frozen=True, kw_only=True)
class SignedWithReason(Signed):
    """The same of a change that nobody understands later without a reason."""

    shown_last = False
    reason: Annotated[
        str,
        typer.Option(
            "--reason",
            "-r",
            metavar="WHY",
            help="Why you change it, for the audit.",
            callback=_not_blank,
        ),
    ] = field()


def pin(
    domain: Domain,
    exit_: Annotated[
        int,
        typer.Option(
            "--exit", "-e", min=0, max=1000, help="Number of the exit; 0 is the shallowest."
        ),
    ],
    given: OnPolicy,
    signed: SignedWithReason,
    for_: Annotated[
        str | None,
        typer.Option(
            "--for", metavar="TIME", help="How long, e.g. 2h; default: until you unpin it."
        ),
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Send every text of a domain to one exit, until you unpin it.

    The domain keeps counting meanwhile. Workers follow with their next answer from Redis. You can
    pin a domain before its first text.
    """
    from policy_state.store.admin import Pin

    for_ms = None if for_ is None else duration_ms(for_)
    change_domain(domain, Pin(exit_, for_ms), given, signed, output)


def unpin(
    domain: Domain,
    given: OnPolicy,
    signed: Signed,
    output: OutputOption = Output.TABLE,
) -> None:
    """Let the policy choose the exit of a pinned domain again."""
    from policy_state.store.admin import Unpin

    change_domain(domain, Unpin(), given, signed, output)


@app.command("freeze", epilog=FREEZE_EXAMPLES, rich_help_panel=CHANGE)
def freeze(
    domain: Domain,
    given: OnPolicy,
    signed: Signed,
    output: OutputOption = Output.TABLE,
) -> None:
    """Stop counting for a domain, so that its exit does not change."""
    from policy_state.store.admin import Freeze

    change_domain(domain, Freeze(), given, signed, output)


@app.command("unfreeze", epilog=UNFREEZE_EXAMPLES, rich_help_panel=CHANGE)
def unfreeze(
    domain: Domain,
    given: OnPolicy,
    signed: Signed,
    output: OutputOption = Output.TABLE,
) -> None:
    """Count the texts of a frozen domain again."""
    from policy_state.store.admin import Unfreeze

    change_domain(domain, Unfreeze(), given, signed, output)


@app.command("reset", epilog=RESET_EXAMPLES, rich_help_panel=CHANGE)
def reset(
    domain: Domain,
    given: OnPolicy,
    signed: Signed,
    keep: Annotated[
        float,
        typer.Option(min=0.0, max=0.99, help="Share of the counters to keep."),
    ] = 0.0,
    output: OutputOption = Output.TABLE,
) -> None:
    """Forget what a domain has learnt, or all but a share of it, and its labels.

    Without --keep a new epoch begins: texts whose exit was chosen before it are no longer counted.
    """
    from policy_state.store.admin import Reset

    change_domain(domain, Reset(keep=keep), given, signed, output)


@app.command("remove", epilog=REMOVE_EXAMPLES, rich_help_panel=CHANGE)
def remove(
    domain: Domain,
    given: OnPolicy,
    signed: Signed,
    output: OutputOption = Output.TABLE,
) -> None:
    """Remove a domain; its next text adds it again, with nothing learnt."""
    from policy_state.store.admin import Remove

    change_domain(domain, Remove(), given, signed, output)


def read_to_change(store: RedisStore, domain: str, change: Change) -> Reading:
    """Return what the open policy has of a domain, if the change can be made.

    Raises:
        DomainNotFound: it is not known, and only pin and freeze may come before its first text.
        StoreCorrupt: it cannot be read, and only remove helps.
        StoreFull: it is not known, and there is no room for it.
    """
    from policy_state.domains import OVERFLOW_DOMAIN, domain_key
    from policy_state.errors import StoreCorrupt, StoreFull
    from policy_state.store.admin import Freeze, Pin, Remove, check_change
    from policy_state.store.reading import read_domains

    domain_key(domain)
    reading = read_domains(store, [domain, OVERFLOW_DOMAIN])
    meta, known = reading.opened.meta, reading.snapshots.get(domain)
    check_change(change, exits=meta.exits)
    if domain in reading.damaged:
        if not isinstance(change, Remove):
            raise StoreCorrupt(reading.damaged[domain])
    elif known is None:
        if not isinstance(change, Pin | Freeze):
            raise not_known(store, domain)
        shared = len(reading.snapshots)  # 1 where domains beyond the limit share a record
        if store.totals().domains - shared >= meta.limits.domains:
            raise StoreFull(
                f"domain {printable(domain)} is not known, and policy {printable(meta.name)} has "
                f"no room for another: limit {meta.limits.domains}; raise it with "
                "`offramp policy set domains=N`"
            )
    return reading


def change_domain(
    domain: str, change: Change, given: OnPolicy, signed: Signed, output: Output
) -> None:
    """Preview a change of one domain, make it when it is wanted, and show what became of it."""
    from policy_state.store.changes import changed
    from policy_state.store.values import DomainSnapshot

    with given.opened() as (_, store):
        reading = read_to_change(store, domain, change)
        opened, known = reading.opened, reading.snapshots.get(domain)
        damage = domain in reading.damaged
        before = known or DomainSnapshot.unseen(opened.meta.exits)
        after = changed(before, change, reason=signed.reason, now_ms=0)
        unseen = " (has no text yet; the change applies from its first text on)"
        note = "" if known or damage else unseen
        if known is not None and after == before:
            typer.echo(f"{printable(domain)}: there is nothing to change", err=True)
            return
        lines = _differences(before, after, change) or ["  the reason"]
        if damage:
            lines = [
                f"  cannot be read: {printable(reading.damaged[domain])}",
                "  removed, with whatever it holds",
            ]
        confirm("\n".join([f"{printable(domain)}{note}:", *lines]), yes=signed.yes)
        with changing():
            done = store.change(domain, change, by=signed.who, reason=signed.reason)
    action = type(change).__name__.lower()
    rows = [
        {"domain": domain, "action": action, "when": when, **flat_record(snapshot)}
        for when, snapshot in (("before", done.before), ("after", done.after))
    ]
    emit(
        output,
        "policy-change",
        rows,
        rows_name="records",
        table=[_cells(row) for row in rows],
        policy=opened.meta.name,
    )


def flat_record(snapshot: DomainSnapshot) -> dict[str, Any]:
    """Return a record, for programs."""
    return {
        "texts": snapshot.stats.texts,
        "epoch": snapshot.epoch,
        "pin": snapshot.pin,
        "pin_until_ms": snapshot.pin_until_ms,
        "frozen": snapshot.frozen,
        "labelled": snapshot.labels.texts if snapshot.labels else None,
        "counters": snapshot.stats.to_fields(),
    }


def _cells(row: dict[str, Any]) -> dict[str, object]:
    until_ms = row["pin_until_ms"]
    shown = {k: v for k, v in row.items() if k not in {"counters", "pin_until_ms"}}
    return shown | {"pin until (UTC)": None if until_ms is None else clock(until_ms)}


def _differences(before: DomainSnapshot, after: DomainSnapshot | None, change: Change) -> list[str]:
    from policy_state.store.admin import Pin

    if after is None:
        return [f"  removed, with {counted(before.stats.texts, 'text')}"]
    old, new = flat_record(before), flat_record(after)
    lines = [
        f"  {name}: {said(old[name])} -> {said(new[name])}"
        for name in ("texts", "epoch", "pin", "frozen", "labelled")
        if old[name] != new[name]
    ]
    if isinstance(change, Pin):
        ends = "until it is unpinned" if change.for_ms is None else f"for: {span(change.for_ms)}"
        lines.append(f"  {ends}")
    return lines
