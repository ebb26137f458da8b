"""`offramp policy`: what the workers have learnt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from consumer.cli import (
    policy_change,
    policy_check,
    policy_doctor,
    policy_evaluate,
    policy_move,
    policy_rebuild,
    policy_set,
)
from consumer.cli.common import MOST_ROWS, Config, PolicyName, RedisUrl, Set, printable
from consumer.cli.panels import LOOK, InPanels
from consumer.cli.policy_common import (
    Domain,
    Format,
    FormatOption,
    Watch,
    clock,
    connected,
    emit,
    known_snapshot,
    open_named,
    percent,
    repeat,
    since,
)
from consumer.cli.route_weights import WEIGHED, exits_by_route, in_words, weighted_routes

if TYPE_CHECKING:
    from policy_state.backends.redis import RedisStore
    from policy_state.report import DomainReport
    from policy_state.store import DomainSnapshot, OpenedPolicy

__all__ = ["app", "percent", "since"]

_HELD = ("epoch", "pin", "pin_until_ms", "pin_reason", "frozen", "freeze_reason")
EXIT_CODES = """Exit codes: 0 done, 1 an error (one line on stderr), 2 wrong usage, 3 previewed and
not confirmed, 4 doctor or diff found something, or rebuild has to run again."""

app = typer.Typer(
    cls=InPanels,
    help="The learnt exits in full: look, change, move and repair.\n\n" + EXIT_CODES,
    no_args_is_help=True,
)

LIST_EXAMPLES = """Examples:

`offramp policy list --watch`

`offramp policy list --limit 20 --redis-url redis://localhost:6379/0`

`offramp policy list -o json | jq '.domains[] | select(.exit > 2).domain'`
"""
SHOW_EXAMPLES = """Examples:

`offramp policy show hotels`

`offramp policy show hotels -o json`
"""


@app.command("list", epilog=LIST_EXAMPLES, rich_help_panel=LOOK)
def list_(
    config: Config = None,
    redis_url: RedisUrl = None,
    policy: PolicyName = None,
    limit: Annotated[
        int, typer.Option(min=1, max=MOST_ROWS, help="At most so many domains.")
    ] = 1000,
    set_: Set = None,
    output: FormatOption = Format.TABLE,
    watch: Watch = False,
) -> None:
    """List the domains with the exit each has learnt.

    First those pinned or frozen, then those well used, then those hardly used.
    """

    def draw(store: RedisStore, name: str) -> None:
        from dataclasses import fields

        from policy_state.policy import build
        from policy_state.reading import read_each
        from policy_state.report import DomainReport, domain_report

        open_named(store, name)
        meta = store.describe().meta
        rules = build(meta.settings, meta.layers)
        snapshots, damaged = read_each(store, store.domains(limit=limit))
        reports = [domain_report(d, found, meta.layers, rules) for d, found in snapshots.items()]
        emit(
            output,
            "policy-list",
            [report.to_dict() | _held(snapshots[report.domain]) for report in reports],
            rows_name="domains",
            table=[_list_row(report, snapshots[report.domain]) for report in reports],
            empty="no domain can be read" if damaged else "no domains yet",
            columns=[*(field.name for field in fields(DomainReport)), "warnings", *_HELD],
            spare=("texts per exit", "layer", "flags", "differs"),
            policy=name,
            damaged=[{"domain": domain, "error": why} for domain, why in damaged.items()],
        )
        for domain, why in damaged.items():
            typer.echo(f"{printable(domain)} cannot be read: {printable(why)}", err=True)
        if output is Format.TABLE and weighted_routes(store, config, set_):
            typer.echo(
                "some routes have a cost weight of their own: `offramp policy show` tells their "
                "exits",
                err=True,
            )

    with connected(config, redis_url, policy, set_, uses=WEIGHED) as (store, name):
        repeat(watch, lambda: draw(store, name))


@app.command("show", epilog=SHOW_EXAMPLES, rich_help_panel=LOOK)
def show(
    domain: Domain,
    config: Config = None,
    redis_url: RedisUrl = None,
    policy: PolicyName = None,
    set_: Set = None,
    output: FormatOption = Format.TABLE,
    watch: Watch = False,
) -> None:
    """Show one domain: what each exit was seen to do, and which one is best by that."""

    def draw(store: RedisStore, name: str) -> None:
        report, snapshot, opened = report_of(store, name, domain)
        rows = _exit_rows(report, snapshot)
        routes = exits_by_route(weighted_routes(store, config, set_), domain, snapshot, opened)
        if output is Format.TABLE:
            typer.echo(_header(report, snapshot, opened))
            if routes:
                typer.echo(in_words(routes))
        emit(
            output,
            "policy-show",
            rows,
            rows_name="exits",
            table=[_exit_cells(row) for row in rows],
            spare=("share", "bonus", "cost", "reward", "index", "played"),
            policy=name,
            revision=opened.revision,
            **{k: v for k, v in report.to_dict().items() if k != "exits"},
            **_held(snapshot),
            by_route=routes,
        )

    with connected(config, redis_url, policy, set_, uses=WEIGHED) as (store, name):
        repeat(watch, lambda: draw(store, name))


# The order of the help.
policy_check.add_to(app)
policy_doctor.add_to(app)
policy_evaluate.add_to(app)
policy_set.add_to(app)
policy_change.add_to(app)
policy_move.add_to(app)
policy_rebuild.add_to(app)


def report_of(
    store: RedisStore, name: str, domain: str
) -> tuple[DomainReport, DomainSnapshot, OpenedPolicy]:
    """Return what is known of one domain, or raise that it is not known."""
    from policy_state.report import read_reports

    (report,) = read_reports(store, name, domains=[domain])
    open_named(store, name)
    return report, known_snapshot(store, domain), store.describe()


def _held(snapshot: DomainSnapshot) -> dict[str, Any]:
    return {name: getattr(snapshot, name) for name in _HELD}


def _flags(snapshot: DomainSnapshot) -> str:
    flags = ["pinned"] if snapshot.pin is not None else []
    return " ".join([*flags, *(["frozen"] if snapshot.frozen else [])])


def _list_row(r: DomainReport, snapshot: DomainSnapshot) -> dict[str, object]:
    return {
        "domain": r.domain,
        "texts": r.texts,
        "exit": r.exit if snapshot.pin is None else snapshot.pin,
        "layer": r.layer if snapshot.pin is None else r.exits[snapshot.pin].layer,
        "saved": percent(r.layers_saved),
        "differs": percent(r.disagreement),
        "texts per exit": " ".join(str(e.played) for e in r.exits),
        "flags": _flags(snapshot),
        "last text": since(r.last_seen_ms),
    }


def _header(r: DomainReport, snapshot: DomainSnapshot, opened: OpenedPolicy) -> str:
    from policy_state.explaining import findings

    settings = f"policy {printable(opened.meta.name)}, settings revision {opened.revision}, "
    settings += f"created {since(opened.created_ms)}, epoch {snapshot.epoch}"
    first = (
        f"{printable(r.domain)}: exit {r.exit} (layer {r.layer}) after {r.texts} texts, "
        f"{percent(r.layers_saved)} of layers saved, last text {since(r.last_seen_ms)}"
    )
    lines = [first, settings]
    if snapshot.pin is not None:
        until = ""
        if snapshot.pin_until_ms is not None:
            until = f" until {clock(snapshot.pin_until_ms)}"
        lines.append(f"pinned to exit {snapshot.pin}{until}: {printable(snapshot.pin_reason)}")
    if snapshot.frozen:
        lines.append(f"frozen: {printable(snapshot.freeze_reason)}")
    if found := findings(r.diagnosis):
        lines.append(" ".join(found))
    lines += [f"warning: {warning}" for warning in r.diagnosis.warnings]
    return "\n".join(lines)


def _exit_rows(r: DomainReport, snapshot: DomainSnapshot) -> list[dict[str, Any]]:
    from dataclasses import asdict

    from policy_state.diagnostics import Share

    rows = []
    for e in r.exits:
        share = Share.of(snapshot.stats.disagreed[e.exit], e.observed)
        bonus = None if e.index is None or e.reward is None else e.index - e.reward
        flags = ["best"] if e.exit == r.exit else []
        flags += ["pinned"] if e.exit == snapshot.pin else []
        flags += ["unseen"] if not e.observed else []
        flags += ["constant"] if e.exit in r.diagnosis.constant else []
        rows.append(
            asdict(e)
            | {
                "disagreement_low": share.low if share else None,
                "disagreement_high": share.high if share else None,
                "bonus": bonus,
                "flags": flags,
            }
        )
    return rows


def _exit_cells(row: dict[str, Any]) -> dict[str, object]:
    low, high = row["disagreement_low"], row["disagreement_high"]
    return {
        "exit": row["exit"],
        "layer": row["layer"],
        "cost": row["cost"],
        "played": row["played"],
        "share": percent(row["share"]),
        "n": row["observed"],
        "differs": percent(row["disagreement"]),
        "95 %": "-" if low is None else f"{100 * low:.1f}..{high:.1%}",
        "reward": row["reward"],
        "bonus": row["bonus"],
        "index": row["index"],
        "flags": " ".join(row["flags"]),
    }
