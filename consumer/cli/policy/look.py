"""`offramp policy list, show` and `offramp explain`: what the workers have learnt."""

from __future__ import annotations

from shutil import get_terminal_size
from textwrap import fill
from typing import TYPE_CHECKING, Any

import typer

from consumer.cli.commands import LOOK, Commands
from consumer.cli.options import Limit, Watch
from consumer.cli.output import (
    Output,
    OutputOption,
    clock,
    emit,
    percent,
    printable,
    repeat,
    since,
)
from consumer.cli.policy.domain import Domain, read_known
from consumer.cli.route.in_force import exits_by_route, in_words, known_routes
from consumer.cli.session import POLICY, ROUTES, OnPolicy, open_named
from policy_state.wording import counted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from consumer.settings.load import Settings
    from policy_state.reports.domain import DomainReport
    from policy_state.store.redis.store import RedisStore
    from policy_state.store.values import DomainSnapshot, OpenedPolicy

_HELD = ("epoch", "pin", "pin_until_ms", "pin_reason", "frozen", "freeze_reason")
_USES = (*POLICY, *ROUTES)

LIST_EXAMPLES = """Examples:

`offramp policy list --watch`

`offramp policy list --limit 20 --redis-url redis://localhost:6379/0`

`offramp policy list -o json | jq '.domains[] | select(.exit > 2).domain'`
"""
SHOW_EXAMPLES = """Examples:

`offramp policy show hotels`

`offramp policy show hotels -o json`
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

    Saved is the share of layers that did not have to run. Differs is the share of texts to which
    this exit gave another label than exit 0. Pinned and frozen domains come first, then those with
    many texts, then those with few.
    """

    def draw(settings: Settings, store: RedisStore) -> None:
        from dataclasses import fields

        from policy_state.algorithms.base import build
        from policy_state.reports.domain import DomainReport, domain_report
        from policy_state.store.reading import read_domains

        open_named(store, settings.policy.name)
        reading = read_domains(store, store.domains(limit=limit))
        meta, snapshots, damaged = reading.opened.meta, reading.snapshots, reading.damaged
        rules = build(meta.settings, meta.layers, credits=meta.calibrated)
        reports = [
            domain_report(domain, found, meta.layers, rules, pool=reading.pool)
            for domain, found in snapshots.items()
        ]
        in_force = known_routes(settings, store)
        routes = {domain: exits_by_route(in_force, domain, reading) for domain in snapshots}
        emit(
            output,
            "policy-list",
            [
                r.to_dict() | _held(snapshots[r.domain]) | {"by_route": routes[r.domain]}
                for r in reports
            ],
            rows_name="domains",
            table=[_list_row(r, snapshots[r.domain], routes[r.domain]) for r in reports],
            empty="no domain can be read" if damaged else "no domain has been seen yet",
            columns=[*(f.name for f in fields(DomainReport)), "warnings", *_HELD, "by_route"],
            spare=("texts per exit", "layer", "flags", "differs"),
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


@app.command("show", epilog=SHOW_EXAMPLES, rich_help_panel=LOOK)
def show(
    domain: Domain,
    given: OnPolicy,
    output: OutputOption = Output.TABLE,
    watch: Watch = False,
) -> None:
    """Show the counters of one domain for each exit, and which exit is best.

    Stopped counts the texts that left at an exit, ran those that computed it. Differs is the share
    of these with another label than at exit 0, with its 95 % interval. Reward is the
    estimated share of errors saved minus the cost, at most the highest value it may still have.

    Flags: best has the best reward; prior is used instead while texts are few, because of what
    other domains have shown; pinned is where an operator sends all texts; unseen was never reached;
    constant gives (nearly) all texts the same label.
    """

    def draw(settings: Settings, store: RedisStore) -> None:
        report, snapshot, opened, routes = _known(settings, store, domain)
        rows = _exit_rows(report, snapshot, opened)
        if output is Output.TABLE:
            typer.echo(_header(report, snapshot, opened, in_words(routes)))
        emit(
            output,
            "policy-show",
            rows,
            rows_name="exits",
            table=[_exit_cells(row) for row in rows],
            spare=("share", "bonus", "cost", "reward", "at most", "stopped"),
            policy=opened.meta.name,
            revision=opened.revision,
            **{k: v for k, v in report.to_dict().items() if k != "exits"},
            **_held(snapshot),
            by_route=routes,
        )

    with given.store(*_USES) as (settings, store):
        repeat(watch, lambda: draw(settings, store))


def explain(domain: Domain, given: OnPolicy, output: OutputOption = Output.TABLE) -> None:
    """Explain why a domain uses its exit, and what would change that."""
    with given.store(*_USES) as (settings, store):
        from policy_state.reports.explain import explain as explained

        report, snapshot, opened, routes = _known(settings, store, domain)
        lines = explained(report, snapshot, settings=opened.meta.settings)
    lines += in_words(routes)
    text = "\n".join(map(printable, lines))
    if output is Output.TABLE:
        typer.echo(f"{printable(domain)}:\n{_listed(lines)}")
        return
    emit(
        output,
        "policy-explain",
        [{"domain": domain, "exit": report.exit, "layer": report.layer, "text": text}],
        rows_name="explanations",
        policy=opened.meta.name,
        revision=opened.revision,
        by_route=routes,
    )


def _known(
    settings: Settings, store: RedisStore, domain: str
) -> tuple[DomainReport, DomainSnapshot, OpenedPolicy, list[dict[str, Any]]]:
    """Return what is known of one domain, read once, and its exits by route.

    Raises:
        DomainNotFound: nothing is.
    """
    from policy_state.algorithms.base import build
    from policy_state.reports.domain import domain_report

    open_named(store, settings.policy.name)
    reading = read_known(store, domain)
    meta, snapshot = reading.opened.meta, reading.snapshots[domain]
    rules = build(meta.settings, meta.layers, credits=meta.calibrated)
    report = domain_report(domain, snapshot, meta.layers, rules, pool=reading.pool)
    by_route = exits_by_route(known_routes(settings, store), domain, reading)
    return report, snapshot, reading.opened, by_route


def _held(snapshot: DomainSnapshot) -> dict[str, Any]:
    return {name: getattr(snapshot, name) for name in _HELD}


def _list_row(
    r: DomainReport, snapshot: DomainSnapshot, routes: Sequence[Mapping[str, Any]]
) -> dict[str, object]:
    return {
        "domain": r.domain,
        "texts": r.texts,
        "exit": " / ".join(map(str, dict.fromkeys([r.exit, *(row["exit"] for row in routes)]))),
        "layer": r.layer,
        "saved": percent(r.layers_saved),
        "differs": percent(r.disagreement),
        "texts per exit": " ".join(str(e.played) for e in r.exits),
        "flags": " ".join(["pinned"] * (snapshot.pin is not None) + ["frozen"] * snapshot.frozen),
        "last text": since(r.last_seen_ms),
    }


def _header(
    r: DomainReport, snapshot: DomainSnapshot, opened: OpenedPolicy, routes: Sequence[str]
) -> str:
    from policy_state.reports.explain import findings

    settings = f"last text {since(r.last_seen_ms)}; policy {printable(opened.meta.name)}, "
    settings += f"created {since(opened.created_ms)}, settings revision {opened.revision}"
    first = (
        f"{printable(r.domain)}: exit {r.exit} (layer {r.layer}) after {counted(r.texts, 'text')}, "
        f"{percent(r.layers_saved)} of layers not run"
    )
    lines = [*routes]
    if snapshot.pin is not None:
        ends = snapshot.pin_until_ms
        until = "" if ends is None else f" until {clock(ends)}"
        lines.append(f"pinned to exit {snapshot.pin}{until}: {snapshot.pin_reason}")
    if snapshot.frozen:
        lines.append(f"frozen: {snapshot.freeze_reason}")
    lines += findings(r)
    lines += [f"warning: {warning}" for warning in r.diagnosis.warnings]
    return "\n".join([first, settings, _listed(lines)])


def _listed(lines: Sequence[str]) -> str:
    """Return lines as a list, wrapped to the terminal."""
    width = get_terminal_size().columns
    return "\n".join(fill(f"- {printable(each)}", width, subsequent_indent="  ") for each in lines)


def _exit_rows(
    r: DomainReport, snapshot: DomainSnapshot, opened: OpenedPolicy
) -> list[dict[str, Any]]:
    from dataclasses import asdict

    from policy_state.reports.diagnosis import Share
    from policy_state.reports.explain import by_its_own

    best = by_its_own(r).exit if opened.meta.settings.tolerance is None else r.learnt
    rows = []
    for e in r.exits:
        share = Share.of(snapshot.stats.disagreed[e.exit], e.observed)
        said = {
            "best": e.exit == best,
            "prior": e.exit == r.learnt != best,  # of few texts: not what they speak for
            "pinned": e.exit == snapshot.pin,
            "unseen": not e.observed,
            "constant": e.exit in r.diagnosis.constant,
        }
        known = {
            "disagreement_low": share.low if share else None,
            "disagreement_high": share.high if share else None,
            "bonus": None if e.index is None or e.reward is None else e.index - e.reward,
            "flags": [flag for flag, holds in said.items() if holds],
        }
        rows.append(asdict(e) | known)
    return rows


def _exit_cells(row: dict[str, Any]) -> dict[str, object]:
    low, high = row["disagreement_low"], row["disagreement_high"]
    return {
        "exit": row["exit"],
        "layer": row["layer"],
        "cost": row["cost"],
        "stopped": row["played"],
        "share": percent(row["share"]),
        "ran": row["observed"],
        "differs": percent(row["disagreement"]),
        "95 %": "-" if low is None else f"{100 * low:.1f}..{high:.1%}",
        "reward": row["reward"],
        "bonus": row["bonus"],
        "at most": row["index"],
        "flags": " ".join(row["flags"]),
    }
