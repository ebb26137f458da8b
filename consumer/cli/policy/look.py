"""`offramp policy`: what the workers have learnt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from consumer.cli.common import MOST_ROWS, Config, PolicyName, RedisUrl, SetRedis, printable
from consumer.cli.panels import LOOK, InPanels
from consumer.cli.policy import change as policy_change
from consumer.cli.policy import doctor as policy_doctor
from consumer.cli.policy import evaluate as policy_evaluate
from consumer.cli.policy import history as policy_check
from consumer.cli.policy import move as policy_move
from consumer.cli.policy import rebuild as policy_rebuild
from consumer.cli.policy import set as policy_set
from consumer.cli.policy.common import (
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
from consumer.cli.route.weights import WEIGHED, exits_by_route, in_words, known_routes
from policy_state.wording import counted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from policy_state.reports.domain import DomainReport
    from policy_state.stats import ExitStats
    from policy_state.store.port import DomainSnapshot, OpenedPolicy
    from policy_state.store.redis.store import RedisStore

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
        int, typer.Option(min=1, max=MOST_ROWS, help="How many domains to show at most.")
    ] = 1000,
    set_: SetRedis = None,
    output: FormatOption = Format.TABLE,
    watch: Watch = False,
) -> None:
    """List the domains with the exit each has learnt.

    First those pinned or frozen, then those well used, then those hardly used.
    """

    def draw(store: RedisStore, name: str) -> None:
        from dataclasses import fields

        from policy_state.algorithms.base import build
        from policy_state.reports.domain import DomainReport, domain_report
        from policy_state.store.reading import read_each

        open_named(store, name)
        opened = store.describe()
        meta = opened.meta
        rules = build(meta.settings, meta.layers)
        snapshots, damaged = read_each(store, store.domains(limit=limit))
        pool = store.totals().stats
        reports = [
            domain_report(domain, found, meta.layers, rules, pool=pool)
            for domain, found in snapshots.items()
        ]
        in_force = known_routes(store, config, set_)
        routes = {
            domain: exits_by_route(in_force, domain, found, opened, pool)
            for domain, found in snapshots.items()
        }
        emit(
            output,
            "policy-list",
            [
                r.to_dict() | _held(snapshots[r.domain]) | {"by_route": routes[r.domain]}
                for r in reports
            ],
            rows_name="domains",
            table=[_list_row(r, snapshots[r.domain], routes[r.domain]) for r in reports],
            empty="no domain can be read" if damaged else "no domains yet",
            columns=[
                *(field.name for field in fields(DomainReport)),
                "warnings",
                *_HELD,
                "by_route",
            ],
            spare=("texts per exit", "layer", "flags", "differs"),
            policy=name,
            damaged=[{"domain": domain, "error": why} for domain, why in damaged.items()],
        )
        for domain, why in damaged.items():
            typer.echo(f"{printable(domain)} cannot be read: {printable(why)}", err=True)
        if output is Format.TABLE and any(routes.values()):
            typer.echo(
                "some routes have a cost weight of their own: their exits come after a slash, "
                "`offramp policy show` tells whose they are",
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
    set_: SetRedis = None,
    output: FormatOption = Format.TABLE,
    watch: Watch = False,
) -> None:
    """Show one domain: what each exit was seen to do, and which one is best by that."""

    def draw(store: RedisStore, name: str) -> None:
        report, snapshot, opened, pool = report_of(store, name, domain)
        rows = _exit_rows(report, snapshot, opened)
        routes = exits_by_route(known_routes(store, config, set_), domain, snapshot, opened, pool)
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
policy_evaluate.add_to(app)
policy_set.add_to(app)
policy_change.add_to(app)
policy_move.add_to(app)
policy_doctor.add_to(app)
policy_rebuild.add_to(app)


def report_of(
    store: RedisStore, name: str, domain: str
) -> tuple[DomainReport, DomainSnapshot, OpenedPolicy, ExitStats]:
    """Return what is known of one domain and of all together, or raise that it is not known."""
    from policy_state.algorithms.base import build
    from policy_state.reports.domain import domain_report

    open_named(store, name)
    opened, pool = store.describe(), store.totals().stats
    meta, snapshot = opened.meta, known_snapshot(store, domain)
    rules = build(meta.settings, meta.layers)
    report = domain_report(domain, snapshot, meta.layers, rules, pool=pool)
    return report, snapshot, opened, pool


def _held(snapshot: DomainSnapshot) -> dict[str, Any]:
    return {name: getattr(snapshot, name) for name in _HELD}


def _flags(snapshot: DomainSnapshot) -> str:
    flags = ["pinned"] if snapshot.pin is not None else []
    return " ".join([*flags, *(["frozen"] if snapshot.frozen else [])])


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
        "flags": _flags(snapshot),
        "last text": since(r.last_seen_ms),
    }


def _header(r: DomainReport, snapshot: DomainSnapshot, opened: OpenedPolicy) -> str:
    from policy_state.reports.explain import findings

    settings = f"policy {printable(opened.meta.name)}, settings revision {opened.revision}, "
    settings += f"created {since(opened.created_ms)}, epoch {snapshot.epoch}"
    first = (
        f"{printable(r.domain)}: exit {r.exit} (layer {r.layer}) after {counted(r.texts, 'text')}, "
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


def _exit_rows(
    r: DomainReport, snapshot: DomainSnapshot, opened: OpenedPolicy
) -> list[dict[str, Any]]:
    from dataclasses import asdict

    from policy_state.reports.diagnosis import Share
    from policy_state.reports.explain import by_its_own

    by_reward = opened.meta.settings.tolerance is None
    best = by_its_own(r).exit if by_reward else r.learnt

    rows = []
    for e in r.exits:
        share = Share.of(snapshot.stats.disagreed[e.exit], e.observed)
        bonus = None if e.index is None or e.reward is None else e.index - e.reward
        flags = ["best"] if e.exit == best else []
        # Of few texts another one is played than they speak for.
        flags += ["prior"] if e.exit == r.learnt != best else []
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
