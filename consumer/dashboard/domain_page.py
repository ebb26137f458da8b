"""The page of one domain: what it does and saves, how it came to it, what would change it."""

from __future__ import annotations

import shlex
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from starlette.routing import Route

from consumer.cli.output import clock
from consumer.cli.policy.history import change_detail
from consumer.cli.policy.look import explained, known_of
from consumer.cli.policy.tables import exit_rows
from consumer.cli.route.in_force import gated, known_routes
from consumer.dashboard.api import settings_to_try
from consumer.dashboard.board import board_of, text_of
from consumer.dashboard.pages import rendered
from consumer.dashboard.past import Moment, plots
from consumer.dashboard.plots import HEIGHT, WIDTH
from consumer.dashboard.what_if import NO_GATE, tried
from policy_state.algorithms.base import build
from policy_state.reports.domain import domain_report
from policy_state.reports.states import State, states_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from consumer.dashboard.board import Board
    from policy_state.reports.domain import DomainReport
    from policy_state.reports.shares import Share
    from policy_state.store.admin import AuditEntry
    from policy_state.store.values import DomainSnapshot, OpenedPolicy

_SAMPLES: Final = 60
_CHANGES: Final = 100
_BAR: Final = 100


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure with its interval; None: too little is known to say one."""

    name: str
    share: Share | None
    about: str  # what it was measured on, or why there is none


def address(name: str) -> str:
    """Return the address of the page of a domain."""
    return f"/domain?{urlencode({'name': name})}"


def domain(request: Request) -> Response:
    """Return the page of a domain."""
    board, name = board_of(request), text_of(request, "name")
    report, snapshot, opened, routes = known_of(board.settings, board.store, name)
    pool = board.store.totals().stats
    meta = gated(opened.meta, known_routes(board.settings, board.store), name)
    rules = build(meta.settings, meta.layers, credits=meta.calibrated)
    ((_, state, _),) = states_of({name: snapshot}, meta, rules, pool=pool)
    changes = _changes(board, name)
    moments = [
        Moment(
            each.time_ms,
            each.record.epoch,
            domain_report(name, each.record, meta, rules, pool=pool),
        )
        for each in reversed(board.store.samples(name, limit=_SAMPLES))
    ]
    moments.append(Moment(time.time_ns() // 1_000_000, snapshot.epoch, report))
    first, *why = explained(report, snapshot, opened, routes)
    warnings = [f"Careful: {warning}." for warning in report.warnings]
    return rendered(
        request,
        "domain.html",
        domain=name,
        sentence=first,
        why=[line for line in why if line not in warnings],
        warnings=report.warnings,
        no_gate=NO_GATE,
        badges=badges(report, snapshot, state),
        figures=figures(report),
        report=report,
        rows=_with_bars(exit_rows(report, snapshot, opened)),
        plots=plots(moments, changes),
        width=WIDTH,
        height=HEIGHT,
        what_if=tried(report, snapshot, opened.meta, settings_to_try(request), pool=pool),
        settings=meta.settings,
        calibrated=meta.calibrated,
        changes=[(e, change_detail(e)) for e in changes if e.domain == name][:20],
        commands=_commands(name, report, opened),
        pinned=snapshot.pin is not None,
        frozen=snapshot.frozen,
    )


def _changes(board: Board, name: str) -> list[AuditEntry]:
    """Return the latest changes of a domain and of its whole policy, the newest first."""
    every = board.store.audit(limit=_CHANGES * 10)
    return [entry for entry in every if entry.domain in {name, None}][:_CHANGES]


def badges(report: DomainReport, snapshot: DomainSnapshot, state: State) -> list[tuple[str, str]]:
    """Return a domain's marks: how each looks, and what it says."""
    found = [(state.value, state.value)]
    if snapshot.pin is not None:
        ends = snapshot.pin_until_ms
        until = "" if ends is None else f" until {clock(ends)}"
        found[0] = ("pinned", f"pinned to exit {snapshot.pin}{until}")
    if snapshot.frozen and state is not State.FROZEN:
        found.append(("frozen", "frozen"))
    if report.labels is not None and report.credits:
        found.append(("plain", "corrected by labels"))
    if report.warnings:
        found.append(("alarm", "warnings"))
    if report.gate is not None:
        open_ = report.gate.threshold
        said = f"gate open at {open_ / 1000:g}" if open_ else "gate closed"
        found.append(("plain", said))
    found.append(("plain", "calibrated" if report.calibrated else "not calibrated"))
    return found


def figures(report: DomainReport) -> list[Figure]:
    """Return what an operator wants to know of a domain in three figures."""
    held = report.holdout
    here = report.exits[report.exit] if report.exit < len(report.exits) else report.exits[-1]
    by = f"on {held.texts:,} texts of the holdout" if held else ""
    none = "no text of the holdout yet"
    agreement, on = report.diagnosis.agreement, by
    if held:
        agreement = held.agreement
    elif agreement:
        on = f"exit {report.learnt}, on {agreement.texts:,} texts that ran to the last exit"
    accuracy = "needs a calibrated model"
    if report.calibrated:
        accuracy = (
            f"exit {here.exit}, by the confidence of the model"
            if here.accuracy
            else "no text has run to the last exit yet"
        )
    return [
        Figure("Layers saved", held.layers_saved if held else None, by or none),
        Figure("Same label as full depth", agreement, on or none),
        Figure("Estimated accuracy", here.accuracy, accuracy),
    ]


def _with_bars(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add where the bars of reward and bonus begin and how long they are, of 100."""
    ends = [r[name] for r in rows for name in ("reward", "index") if r[name] is not None]
    low, high = min([0.0, *ends]), max([0.0, *ends])
    span = (high - low) or 1.0

    def at(value: float) -> float:
        return float(round(_BAR * (value - low) / span, 1))

    found = []
    for row in rows:
        reward, most = row["reward"], row["index"]
        bars: dict[str, float] | None = None
        if reward is not None:
            start, end = sorted((at(0.0), at(reward)))
            bars = {"zero": at(0.0), "from": start, "long": max(0.6, end - start), "at": at(reward)}
            bars["bonus"] = 0.0 if most is None else max(0.0, at(most) - at(reward))
        found.append(row | {"bars": bars})
    return found


def _commands(name: str, report: DomainReport, opened: OpenedPolicy) -> dict[str, str]:
    """Return the command of each action."""
    policy = "" if opened.meta.name == "default" else f" --policy {shlex.quote(opened.meta.name)}"
    said = f"{shlex.quote(name)}{policy}"
    if name.startswith("-"):
        said = f"{policy.strip()} -- {shlex.quote(name)}".strip()
    held = ' --reason "..."'
    return {
        "pin": f"offramp pin --exit {report.exit} --for 2h{held} {said}",
        "unpin": f"offramp unpin {said}",
        "freeze": f"offramp policy freeze{held} {said}",
        "unfreeze": f"offramp policy unfreeze {said}",
        "reset": f"offramp policy reset{held} {said}",
        "explain": f"offramp explain {said}",
        "evaluate": f"offramp policy evaluate labels.csv{policy}",
    }


ROUTES = [Route("/domain", domain)]
