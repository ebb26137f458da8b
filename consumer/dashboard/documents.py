"""The documents of the API: those of commands with `-o json`, and a few for the pages alone."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from consumer.cli.output import document, duration_ms
from consumer.cli.policy.history import changed_row, history_rows, worker_rows
from consumer.cli.policy.look import explained, explanation, known_of, reports_of
from consumer.cli.policy.tables import domain_row, exit_rows, shown_fields
from consumer.cli.route.in_force import as_row
from consumer.cli.status import MAX_BACKLOG
from consumer.errors import ConsumerError
from consumer.status.findings import findings
from consumer.status.looking import Looked, workers_of
from policy_state.errors import StoreCorrupt
from policy_state.reports.holdout import holdout_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from consumer.dashboard.board import Board
    from policy_state.health.findings import Finding
    from policy_state.reports.domain import ExitReport
    from policy_state.reports.states import DomainStates

Document = dict[str, Any]

_OF_POLICY: Final = (
    *("revision", "layers", "calibrated", "settings", "texts", "texts_per_s", "domains"),
    *("domains_read", "states", "alarmed", "holdout"),
)
MEASURES: Final = ("share", "disagreement", "error", "texts")
"""What the heat map may show of each exit."""


def domains(  # noqa: PLR0913 - what a list is asked for
    board: Board, *, search: str, show: str, sort: str, down: bool, offset: int, limit: int
) -> Document:
    """Return a page of the domains: the rows of `policy list`."""
    names = board.index.found(search, show, sort, down=down)
    page = names[offset : offset + limit]
    reading, reports, routes = reports_of(board.settings, board.store, page)
    return document(
        "policy-list",
        [domain_row(r, reading.snapshots[r.domain], routes[r.domain]) for r in reports],
        rows_name="domains",
        policy=reading.opened.meta.name,
        damaged=[{"domain": name, "error": why} for name, why in reading.damaged.items()],
        found=len(names),
        offset=offset,
        sorted=sort == "activity" or board.index.complete,
    )


def domain(board: Board, name: str) -> Document:
    """Return what `policy show` gives."""
    report, snapshot, opened, routes = known_of(board.settings, board.store, name)
    return document(
        "policy-show",
        exit_rows(report, snapshot, opened),
        rows_name="exits",
        **shown_fields(report, snapshot, opened, routes),
    )


def explain(board: Board, name: str) -> Document:
    """Return what `explain` gives."""
    report, snapshot, opened, routes = known_of(board.settings, board.store, name)
    return document(
        "policy-explain",
        [explanation(report, explained(report, snapshot, opened, routes))],
        rows_name="explanations",
        policy=opened.meta.name,
        revision=opened.revision,
        by_route=routes,
    )


def history(board: Board, name: str, *, limit: int) -> Document:
    """Return what `policy history` gives."""
    changes = board.store.audit(domain=name, limit=limit)
    rows = history_rows(board.store, name, changes, limit=limit)
    return document("policy-history", rows, rows_name="entries", domain=name)


def audit(board: Board, *, limit: int) -> Document:
    """Return what `policy audit` gives."""
    rows = [changed_row(entry) for entry in board.store.audit(limit=limit)]
    return document("policy-audit", rows, rows_name="changes")


def workers(board: Board) -> Document:
    """Return what `policy workers` gives."""
    return document("policy-workers", worker_rows(board.store.workers()), rows_name="workers")


def routes(board: Board) -> Document:
    """Return what `route list` gives."""
    table = board.settings.group_routes.in_force(board.store)
    return document(
        "route-list",
        [as_row(route) for route in table.routes],
        rows_name="routes",
        group=board.settings.kafka.group,
        source=table.source,
        revision=table.revision,
    )


def overview(board: Board) -> Document:
    """Return how the fleet is doing, and what `status` finds, what needs somebody first.

    Of a policy that somebody has damaged it says so; what is then not known is None.
    """
    alive = board.store.workers()
    try:
        opened, totals = board.store.describe(), board.store.totals()
    except StoreCorrupt as error:
        found = _findings(board, alive, board.index.domain_states(), damage=error)
        return document(
            "dashboard-overview",
            [asdict(finding) for finding in found],
            rows_name="findings",
            policy=board.settings.policy.name,
            workers=len(alive),
            **dict.fromkeys(_OF_POLICY),
        )
    index, meta = board.index, opened.meta
    states, holdout = index.domain_states(), holdout_of(totals.stats, meta.layers)
    return document(
        "dashboard-overview",
        [asdict(finding) for finding in _findings(board, alive, states)],
        rows_name="findings",
        policy=meta.name,
        revision=opened.revision,
        layers=meta.layers,
        calibrated=meta.calibrated,
        settings=asdict(meta.settings),
        workers=len(alive),
        texts=totals.stats.texts,
        texts_per_s=index.texts_per_s,
        domains=totals.domains,
        domains_read=len(index.rows),
        states={state.value: group.domains for state, group in states.states.items()},
        alarmed=states.alarmed.domains,
        holdout=asdict(holdout) if holdout else None,
    )


def _findings(
    board: Board,
    alive: Mapping[str, Mapping[str, str]],
    states: DomainStates,
    *,
    damage: StoreCorrupt | None = None,
) -> list[Finding]:
    """Return what `status` says of the group; of Kafka only if it is to be asked."""
    settings = board.settings
    group, policy = settings.kafka.group, settings.policy.name
    errors: dict[str, Exception] = {}
    table = None
    try:
        table = settings.group_routes.in_force(board.store)
    except ConsumerError as error:  # the page still shows the rest
        errors["routes"] = error
    seen = board.kafka.group(table)
    errors |= seen.errors
    if (trouble := damage or board.index.trouble) is not None:
        errors[f"policy {policy}"] = trouble
    looked = Looked(
        group=group,
        workers=workers_of(group, alive),
        routes=table,
        policies={policy: states},
        kafka=seen.overview,
        letters=seen.letters,
        errors=errors,
    )
    return findings(looked, settings.kafka, max_backlog_s=duration_ms(MAX_BACKLOG) / 1000)


def heat_map(board: Board, *, measure: str, offset: int, limit: int) -> Document:
    """Return a measure of every exit of the domains with most texts. None: not known."""
    names = board.index.ordered("texts", down=True)[offset : offset + limit]
    reading, reports, _ = reports_of(board.settings, board.store, names)
    return document(
        "dashboard-heat-map",
        [
            {"domain": r.domain, "exit": r.exit, "values": [_measured(e, measure) for e in r.exits]}
            for r in reports
        ],
        rows_name="domains",
        measure=measure,
        layers=reading.opened.meta.layers,
        calibrated=reading.opened.meta.calibrated,
    )


def _measured(exit_: ExitReport, measure: str) -> float | None:
    if measure == "texts":
        return exit_.observed
    if measure == "error":
        return 1 - exit_.accuracy.share if exit_.accuracy else None
    return exit_.share if measure == "share" else exit_.disagreement
