"""The documents of the API: those of commands with `-o json`, and a few for the pages alone."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from consumer.cli.output import document
from consumer.cli.policy.history import changed_row, history_rows, worker_rows
from consumer.cli.policy.look import explained, explanation, known_of, reports_of
from consumer.cli.policy.tables import domain_row, exit_rows, shown_fields
from consumer.cli.route.in_force import as_row
from policy_state.reports.holdout import holdout_of
from policy_state.reports.states import State
from policy_state.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from consumer.dashboard.board import Board
    from policy_state.reports.domain import ExitReport

Document = dict[str, Any]

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
    """Return how the fleet is doing, and what an operator should look at first."""
    opened, totals, alive = board.store.describe(), board.store.totals(), workers(board)["workers"]
    index, meta = board.index, opened.meta
    states, alarmed = index.states(), index.alarmed()
    holdout = holdout_of(totals.stats, meta.layers)
    return document(
        "dashboard-overview",
        list(_notices(board, alive, drifted=states[State.DRIFTED], alarmed=alarmed)),
        rows_name="notices",
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
        states={state.value: states[state.value] for state in State},
        alarmed=alarmed,
        holdout=asdict(holdout) if holdout else None,
    )


def _notices(
    board: Board, alive: list[dict[str, Any]], *, drifted: int, alarmed: int
) -> Iterator[Document]:
    """Yield what needs somebody's attention, the worst first."""
    if board.index.trouble:
        yield _notice("problem", f"The domains cannot be read: {board.index.trouble}", "/workers")
    if not alive:
        yield _notice("problem", "No worker is alive: no text is predicted.", "/workers")
    for worker in alive:
        name = worker["instance"]
        if still := worker.get("stands_still"):
            yield _notice("problem", f"Worker {name} stands still: {still}", "/workers")
        if lost := _number(worker, "lost_texts"):
            said = f"Worker {name} has lost the counts of {counted(lost, 'text')}."
            yield _notice("warning", said, "/workers")
        if held := _number(worker, "held_texts"):
            said = f"Worker {name} holds {counted(held, 'text')} that Redis has not counted yet."
            yield _notice("note", said, "/workers")
    if alarmed:
        said = f"There are warnings about {counted(alarmed, 'domain')}."
        yield _notice("warning", said, "/domains?show=alarmed")
    if drifted:
        said = f"The texts of {counted(drifted, 'domain')} have changed; learning began again."
        yield _notice("note", said, "/domains?show=drifted")


def _notice(severity: str, text: str, page: str) -> Document:
    return {"severity": severity, "text": text, "page": page}


def _number(worker: Mapping[str, Any], name: str) -> int:
    value = worker.get(name)
    return value if isinstance(value, int) else 0


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
