"""`offramp policy list, show` and `offramp explain`: what the workers have learnt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from consumer.cli.commands import LOOK, Commands
from consumer.cli.options import Limit, Watch
from consumer.cli.output import (
    Output,
    OutputOption,
    emit,
    printable,
    repeat,
)
from consumer.cli.policy.domain import Domain, read_known
from consumer.cli.policy.shadowed import emit_shadow
from consumer.cli.policy.tables import (
    HELD,
    domain_row,
    exit_cells,
    exit_rows,
    header,
    list_row,
    listed,
    shown_fields,
)
from consumer.cli.route.in_force import exits_by_route, gated, in_words, known_routes
from consumer.cli.session import POLICY, ROUTES, OnPolicy, open_named

if TYPE_CHECKING:
    from collections.abc import Sequence

    from consumer.settings.load import Settings
    from policy_state.reports.domain import DomainReport
    from policy_state.store.reading import Reading
    from policy_state.store.redis.store import RedisStore
    from policy_state.store.values import DomainSnapshot, OpenedPolicy

_USES = (*POLICY, *ROUTES)

LIST_EXAMPLES = """Examples:

`offramp policy list --watch`

`offramp policy list --limit 20 --redis-url redis://localhost:6379/0`

`offramp policy list -o json | jq '.domains[] | select(.exit > 2).domain'`
"""
SHOW_EXAMPLES = """Examples:

`offramp policy show hotels`

`offramp policy show hotels -o json`

`offramp policy show hotels --shadow`
"""

EXPLAIN_EXAMPLES = """Examples:

`offramp explain hotels`

`offramp explain hotels -o json | jq -r '.explanations[].text'`
"""

app = Commands()


@app.command("list", epilog=LIST_EXAMPLES, rich_help_panel=LOOK)
def list_(
    given: OnPolicy,
    limit: Limit = 1000,
    output: OutputOption = Output.TABLE,
    watch: Watch = False,
) -> None:
    """List the domains and the exit that each one uses.

    Saved is the share of layers that do not have to run. Full depth is the share of texts whose
    label is that of the last exit. Both are measured, give or take the points after ±, on the
    holdout: some texts run to the last exit only for this. Without such texts, saved is counted
    over all texts. Differs is the share of texts to which this exit gave another label than exit 0.
    Pinned and frozen domains come first, then those with many texts, then those with few.
    """

    def draw(settings: Settings, store: RedisStore) -> None:
        from dataclasses import fields

        from policy_state.reports.domain import DomainReport

        open_named(store, settings.policy.name)
        reading, reports, routes = reports_of(settings, store, store.domains(limit=limit))
        meta, snapshots, damaged = reading.opened.meta, reading.snapshots, reading.damaged
        emit(
            output,
            "policy-list",
            [domain_row(r, snapshots[r.domain], routes[r.domain]) for r in reports],
            rows_name="domains",
            table=[list_row(r, snapshots[r.domain], routes[r.domain]) for r in reports],
            empty="no domain can be read" if damaged else "no domain has been seen yet",
            columns=[*(f.name for f in fields(DomainReport)), "warnings", *HELD, "by_route"],
            spare=("texts per exit", "differs", "layer", "flags", "holdout"),
            policy=meta.name,
            damaged=[{"domain": domain, "error": why} for domain, why in damaged.items()],
        )
        for domain, why in damaged.items():
            typer.echo(f"{printable(domain)} cannot be read: {printable(why)}", err=True)
        if output is Output.TABLE and any(routes.values()):
            typer.echo(
                "some routes have their own cost weight: their exits come after a slash; "
                "`offramp policy show` names the routes",
                err=True,
            )

    with given.store(*_USES) as (settings, store):
        repeat(watch, lambda: draw(settings, store))


def reports_of(
    settings: Settings, store: RedisStore, names: Sequence[str]
) -> tuple[Reading, list[DomainReport], dict[str, list[dict[str, Any]]]]:
    """Return what is known of some domains of the open policy, and their exits by route."""
    from policy_state.store.reading import read_domains

    reading = read_domains(store, names)
    return reading, *_reported(settings, store, reading)


def _reported(
    settings: Settings, store: RedisStore, reading: Reading
) -> tuple[list[DomainReport], dict[str, list[dict[str, Any]]]]:
    from policy_state.algorithms.base import build
    from policy_state.reports.domain import domain_report

    meta = reading.opened.meta
    rules = build(meta.settings, meta.layers, credits=meta.calibrated)
    in_force = known_routes(settings, store)
    reports = [
        domain_report(domain, found, gated(meta, in_force, domain), rules, pool=reading.pool)
        for domain, found in reading.snapshots.items()
    ]
    routes = {domain: exits_by_route(in_force, domain, reading) for domain in reading.snapshots}
    return reports, routes


@app.command("show", epilog=SHOW_EXAMPLES, rich_help_panel=LOOK)
def show(
    domain: Domain,
    given: OnPolicy,
    output: OutputOption = Output.TABLE,
    watch: Watch = False,
    shadow: Annotated[
        bool,
        typer.Option("--shadow", help="Show what `offramp shadow` has compared in the domain."),
    ] = False,
) -> None:
    """Show the counters of one domain for each exit, and which exit is best.

    Stopped counts the texts that left at an exit, ran those that computed it. Differs is the share
    of these with another label than at exit 0, with its 95 % interval. Reward is the
    estimated share of errors saved minus the cost, at most the highest value it may still have.

    If the model is calibrated, worth is how many errors a change of label from the exit before
    saves, and accuracy is the estimated share of right labels. It has the interval of chance. If
    the texts are unlike those of the calibration, it is too high.

    Flags: best has the best reward; prior is used instead while texts are few, because of what
    other domains have shown; pinned is where an operator sends all texts; unseen was never reached;
    constant gives (nearly) all texts the same label.

    With --shadow: how often a new model gives the answers of the live one, at which exit it would
    stop, and how often both are right, estimated. The intervals are of 95 %.
    """

    def draw(settings: Settings, store: RedisStore) -> None:
        report, snapshot, opened, routes = known_of(settings, store, domain)
        rows = exit_rows(report, snapshot, opened)
        if output is Output.TABLE:
            typer.echo(header(report, snapshot, opened, in_words(routes)))
        emit(
            output,
            "policy-show",
            rows,
            rows_name="exits",
            table=[exit_cells(row, report) for row in rows],
            spare=(
                *("share", "bonus", "cost", *(["95 %", "differs"] if report.calibrated else [])),
                *("reward", "at most", "stopped"),
            ),
            **shown_fields(report, snapshot, opened, routes),
        )

    def draw_shadow(settings: Settings, store: RedisStore) -> None:
        report, _, opened, _ = known_of(settings, store, domain)
        emit_shadow(output, store, report, opened.meta)

    with given.store(*_USES) as (settings, store):
        repeat(watch, lambda: (draw_shadow if shadow else draw)(settings, store))


def explain(domain: Domain, given: OnPolicy, output: OutputOption = Output.TABLE) -> None:
    """Explain why a domain uses its exit, and what would change that."""
    with given.store(*_USES) as (settings, store):
        report, snapshot, opened, routes = known_of(settings, store, domain)
    lines = explained(report, snapshot, opened, routes)
    if output is Output.TABLE:
        typer.echo(f"{printable(domain)}:\n{listed(lines)}")
        return
    emit(
        output,
        "policy-explain",
        [explanation(report, lines)],
        rows_name="explanations",
        policy=opened.meta.name,
        revision=opened.revision,
        by_route=routes,
    )


def explained(
    report: DomainReport,
    snapshot: DomainSnapshot,
    opened: OpenedPolicy,
    routes: Sequence[dict[str, Any]],
) -> list[str]:
    """Return why a domain uses its exit, in lines."""
    from policy_state.reports.explain import explain as in_lines

    return in_lines(report, snapshot, settings=opened.meta.settings) + in_words(routes)


def explanation(report: DomainReport, lines: Sequence[str]) -> dict[str, Any]:
    """Return the same for programs."""
    text = "\n".join(map(printable, lines))
    return {"domain": report.domain, "exit": report.exit, "layer": report.layer, "text": text}


def known_of(
    settings: Settings, store: RedisStore, domain: str
) -> tuple[DomainReport, DomainSnapshot, OpenedPolicy, list[dict[str, Any]]]:
    """Return what is known of one domain, read once, and its exits by route.

    Raises:
        DomainNotFound: nothing is.
    """
    open_named(store, settings.policy.name)
    reading = read_known(store, domain)
    (report,), routes = _reported(settings, store, reading)
    return report, reading.snapshots[domain], reading.opened, routes[domain]
