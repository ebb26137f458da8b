"""`offramp policy evaluate --apply` and `unlabel`: later labels correct what steps are worth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import typer

from consumer.cli.commands import CHANGE, Commands
from consumer.cli.output import Output, OutputOption, printable
from consumer.cli.policy.change import change_domain
from consumer.cli.policy.domain import Domain
from consumer.cli.session import OnPolicy, Signed, changing, confirm
from policy_state.wording import counted

if TYPE_CHECKING:
    from consumer.learning.labels import Joined
    from policy_state.reports.correction import Correction, StepCorrection
    from policy_state.store.admin import Change
    from policy_state.store.redis.store import RedisStore
    from policy_state.store.values import PolicyMeta

UNLABEL_EXAMPLES = """Examples:

`offramp policy unlabel hotels --reason "the labels were wrong" --yes`
"""

_SHOWN: Final = 20  # domains of a preview
_CALL_DOMAINS: Final = 500

app = Commands()


@app.command("unlabel", epilog=UNLABEL_EXAMPLES, rich_help_panel=CHANGE)
def unlabel(
    domain: Domain,
    given: OnPolicy,
    signed: Signed,
    output: OutputOption = Output.TABLE,
) -> None:
    """Take back what `evaluate --apply` has corrected in a domain."""
    from policy_state.store.admin import Unlabel

    change_domain(domain, Unlabel(), given, signed, output)


def check_correctable(meta: PolicyMeta) -> None:
    """Raise `InvalidInput` for a policy in which labels have nothing to correct."""
    from policy_state.algorithms.base import build
    from policy_state.errors import InvalidInput

    if not meta.calibrated:
        raise InvalidInput(
            f"--apply needs a calibrated model, and that of policy {meta.name} is not; calibrate "
            "it with `offramp model calibrate`"
        )
    if not build(meta.settings, meta.layers, credits=True).credits:
        raise InvalidInput(
            f"--apply has no effect on policy {meta.name}: its algorithm, "
            f"{meta.settings.algorithm}, does not use what steps are worth"
        )


def correct(store: RedisStore, joined: Joined, signed: Signed) -> dict[str, Correction]:
    """Preview what labels correct, make it if it is wanted, and return it by domain.

    A domain keeps the labels of the latest call alone, so the same call twice changes nothing.
    """
    from policy_state.errors import DomainNotFound

    changes, corrections, unknown = _planned(store, joined)
    if unknown:
        shown = ", ".join(map(printable, unknown[:_SHOWN]))
        said = counted(len(unknown), "labelled domain")
        typer.echo(f"{said} left out, because the policy does not know it: {shown}", err=True)
    if not changes:
        typer.echo("labels have nothing to correct, or have corrected it already", err=True)
        return corrections
    name = printable(store.describe().meta.name)
    title = f"policy {name}: labels correct {counted(len(changes), 'domain')}:"
    lines = _preview({domain: corrections[domain] for domain in changes})
    confirm("\n".join([title, *lines]), yes=signed.yes)
    with changing():
        for domain, change in changes.items():
            try:
                store.change(domain, change, by=signed.who, reason=signed.reason)
            except DomainNotFound:
                typer.echo(f"{printable(domain)} left out: it was removed meanwhile", err=True)
                del corrections[domain]
    return corrections


def _planned(
    store: RedisStore, joined: Joined
) -> tuple[dict[str, Change], dict[str, Correction], list[str]]:
    """Return what to change, what that corrects, and labelled domains that are not known.

    Labels without a duel correct nothing: they only take away those that a domain has.
    """
    from policy_state.algorithms.base import build
    from policy_state.reports.correction import correction
    from policy_state.store.admin import Label, Unlabel
    from policy_state.store.reading import read_domains

    changes: dict[str, Change] = {}
    corrections: dict[str, Correction] = {}
    unknown: list[str] = []
    names = sorted(joined.domains)
    for start in range(0, len(names), _CALL_DOMAINS):
        some = names[start : start + _CALL_DOMAINS]
        reading = read_domains(store, some)
        meta = reading.opened.meta
        rules = build(meta.settings, meta.layers, credits=meta.calibrated)
        for name in some:
            if (snapshot := reading.snapshots.get(name)) is None:
                unknown.append(name)
                continue
            labels = joined.domains[name].duels(meta.exits)
            corrections[name] = correction(snapshot, labels, rules, pool=reading.pool)
            if any(labels.duels) and labels != snapshot.labels:
                changes[name] = Label(labels)
            elif not any(labels.duels) and snapshot.labels is not None:
                changes[name] = Unlabel()
    return changes, corrections, unknown


def _preview(corrections: dict[str, Correction]) -> list[str]:
    """Return the domains whose exit changes first."""
    order = sorted(
        corrections, key=lambda d: corrections[d].exit_before == corrections[d].exit_after
    )
    lines = []
    for domain in order[:_SHOWN]:
        found = corrections[domain]
        before, after = found.exit_before, found.exit_after
        exit_ = f"exit {before} stays" if before == after else f"exit {before} -> {after}"
        lines.append(f"  {printable(domain)}: {exit_}")
        lines += [f"    {_said(step)}" for step in found.steps]
    rest = len(order) - _SHOWN
    return [*lines, f"  and {counted(rest, 'more domain')}"] if rest > 0 else lines


def _said(step: StepCorrection) -> str:
    before, after = (
        "unknown" if worth is None else f"{worth:.2f}"
        for worth in (step.worth_before, step.worth_after)
    )
    return (
        f"a change of label at exit {step.exit} is worth {before} -> {after} "
        f"({counted(step.duels, 'labelled duel')}, {step.wins} won, {step.losses} lost)"
    )
