"""`offramp policy freeze, unfreeze, reset, remove`: changes, previewed first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from consumer.cli.common import Config, PolicyName, RedisUrl, SetRedis, printable
from consumer.cli.panels import CHANGE
from consumer.cli.policy.common import (
    By,
    Domain,
    Format,
    FormatOption,
    Reason,
    Yes,
    changing,
    clock,
    confirm,
    emit,
    known_snapshot,
    opened_policy,
    own_snapshot,
    span,
    who,
)
from policy_state.wording import counted

if TYPE_CHECKING:
    from policy_state.store.admin import Change
    from policy_state.store.port import DomainSnapshot, OpenedPolicy
    from policy_state.store.redis.store import RedisStore

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


def add_to(app: typer.Typer) -> None:
    """Add the commands to the group."""
    app.command("freeze", epilog=FREEZE_EXAMPLES, rich_help_panel=CHANGE)(freeze)
    app.command("unfreeze", epilog=UNFREEZE_EXAMPLES, rich_help_panel=CHANGE)(unfreeze)
    app.command("reset", epilog=RESET_EXAMPLES, rich_help_panel=CHANGE)(reset)
    app.command("remove", epilog=REMOVE_EXAMPLES, rich_help_panel=CHANGE)(remove)


def freeze(
    domain: Domain,
    config: Config = None,
    redis_url: RedisUrl = None,
    policy: PolicyName = None,
    reason: Reason = "",
    by: By = None,
    yes: Yes = False,
    set_: SetRedis = None,
    output: FormatOption = Format.TABLE,
) -> None:
    """Count nothing more for a domain, so that its choice stays as it is."""
    from policy_state.store.admin import Freeze

    with opened_policy(config, redis_url, policy, set_) as store:
        change_domain(store, domain, Freeze(), by, reason, yes=yes, output=output)


def unfreeze(
    domain: Domain,
    config: Config = None,
    redis_url: RedisUrl = None,
    policy: PolicyName = None,
    reason: Reason = "",
    by: By = None,
    yes: Yes = False,
    set_: SetRedis = None,
    output: FormatOption = Format.TABLE,
) -> None:
    """Count a domain's texts again."""
    from policy_state.store.admin import Unfreeze

    with opened_policy(config, redis_url, policy, set_) as store:
        change_domain(store, domain, Unfreeze(), by, reason, yes=yes, output=output)


def reset(
    domain: Domain,
    keep: Annotated[
        float,
        typer.Option(min=0.0, max=0.99, help="Share of what was learnt to keep."),
    ] = 0.0,
    config: Config = None,
    redis_url: RedisUrl = None,
    policy: PolicyName = None,
    reason: Reason = "",
    by: By = None,
    yes: Yes = False,
    set_: SetRedis = None,
    output: FormatOption = Format.TABLE,
) -> None:
    """Forget what a domain has learnt, all of it or but for a share.

    Without a share a new epoch begins: texts that were decided before it are not counted any more.
    """
    from policy_state.store.admin import Reset

    with opened_policy(config, redis_url, policy, set_) as store:
        change_domain(store, domain, Reset(keep=keep), by, reason, yes=yes, output=output)


def remove(
    domain: Domain,
    config: Config = None,
    redis_url: RedisUrl = None,
    policy: PolicyName = None,
    reason: Reason = "",
    by: By = None,
    yes: Yes = False,
    set_: SetRedis = None,
    output: FormatOption = Format.TABLE,
) -> None:
    """Forget a domain as if it had never been seen; its next text brings it back."""
    from policy_state.store.admin import Remove

    with opened_policy(config, redis_url, policy, set_) as store:
        change_domain(store, domain, Remove(), by, reason, yes=yes, output=output)


def change_domain(
    store: RedisStore,
    domain: str,
    change: Change,
    by: str | None,
    reason: str,
    *,
    yes: bool,
    output: Format,
) -> None:
    """Preview a change of one domain, make it when it is wanted, and show what became of it."""
    from policy_state.domains import domain_key
    from policy_state.errors import StoreCorrupt
    from policy_state.store.admin import Freeze, Pin, Remove, check_change
    from policy_state.store.changes import changed
    from policy_state.store.port import DomainSnapshot

    domain_key(domain)
    opened = store.describe()
    check_change(change, exits=opened.meta.exits)
    known, damage = None, ""
    try:
        find = own_snapshot if isinstance(change, Pin | Freeze) else known_snapshot
        known = find(store, domain)
    except StoreCorrupt as error:
        if not isinstance(change, Remove):
            raise
        damage = f"  cannot be read: {printable(error)}"
    if known is None and not damage:
        _check_room(store, domain, opened)
    before = known or DomainSnapshot.unseen(opened.meta.exits)
    after = changed(before, change, reason=reason, now_ms=0)
    note = "" if known or damage else " (not seen yet: it is written down for when its texts come)"
    if known is not None and after == before:
        typer.echo(f"{printable(domain)}: nothing to change, it is so already", err=True)
        return
    lines = _differences(before, after, change) or ["  the reason"]
    if damage:
        lines = [damage, "  removed, with whatever it holds"]
    confirm("\n".join([f"{printable(domain)}{note}:", *lines]), yes=yes)
    with changing():
        done = store.change(domain, change, by=who(by), reason=reason)
    action = type(change).__name__.lower()
    rows = [
        {"domain": domain, "action": action, "when": when, **_flat(snapshot)}
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


def _check_room(store: RedisStore, domain: str, opened: OpenedPolicy) -> None:
    """Raise where the policy cannot take a domain that it does not know yet."""
    from policy_state.errors import StoreFull
    from policy_state.store.port import OVERFLOW_DOMAIN

    limit = opened.meta.limits.domains
    shared = domain != OVERFLOW_DOMAIN and own_snapshot(store, OVERFLOW_DOMAIN) is not None
    if store.totals().domains - shared >= limit:
        raise StoreFull(
            f"domain {printable(domain)} is not known, and policy {printable(opened.meta.name)} "
            f"has no room for another: limit {limit}"
        )


def _flat(snapshot: DomainSnapshot) -> dict[str, Any]:
    return {
        "texts": snapshot.stats.texts,
        "epoch": snapshot.epoch,
        "pin": snapshot.pin,
        "pin_until_ms": snapshot.pin_until_ms,
        "frozen": snapshot.frozen,
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
    old, new = _flat(before), _flat(after)
    lines = [
        f"  {name}: {'-' if old[name] is None else old[name]} -> "
        f"{'-' if new[name] is None else new[name]}"
        for name in ("texts", "epoch", "pin", "frozen")
        if old[name] != new[name]
    ]
    if isinstance(change, Pin):
        ends = "until it is unpinned" if change.for_ms is None else f"for: {span(change.for_ms)}"
        lines.append(f"  {ends}")
    return lines
