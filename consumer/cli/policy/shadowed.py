"""`offramp policy show DOMAIN --shadow`: a new model beside the live one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from consumer.cli.output import Output, emit, measured, percent, print_table, printable, since
from consumer.cli.policy.tables import listed
from policy_state.wording import counted

if TYPE_CHECKING:
    from policy_state.reports.domain import DomainReport
    from policy_state.reports.shadow import ShadowReport
    from policy_state.store.redis.store import RedisStore
    from policy_state.store.values import PolicyMeta


def emit_shadow(output: Output, store: RedisStore, of: DomainReport, meta: PolicyMeta) -> None:
    """Print what shadows have compared in a domain, the latest pair of models first."""
    reports = _reports(store, of, meta)
    if output is not Output.TABLE:
        rows = [report.to_dict() for report in reports]
        emit(output, "policy-shadow", rows, rows_name="comparisons", policy=meta.name)
        return
    if not reports:
        typer.echo(f"no shadow has compared a text of {printable(of.domain)} yet", err=True)
    for report in reports:
        typer.echo(
            f"{printable(report.domain)}: model {printable(report.new.fingerprint)} beside live "
            f"{printable(report.live.fingerprint)}, {counted(report.texts, 'text')}, "
            f"last {since(report.last_ms)}\n{listed(report.lines)}"
        )
        print_table([_row(report, j) for j in range(report.new.exits)], empty="")


def _reports(store: RedisStore, of: DomainReport, meta: PolicyMeta) -> list[ShadowReport]:
    from policy_state.reports.shadow import shadow_report
    from policy_state.store.redis.shadow import RedisShadow

    shadow = RedisShadow(store.server, meta.name)
    found = []
    for pair in shadow.pairs():
        is_live = pair.live.fingerprint == meta.fingerprint
        report = shadow_report(
            of.domain,
            pair,
            shadow.read(pair, of.domain),
            meta.settings,
            live_accuracy=of.exits[of.exit].accuracy if is_live else None,
        )
        if report is not None:
            found.append(report)
    return found


def _row(report: ShadowReport, exit_: int) -> dict[str, Any]:
    row = report.exits[exit_]
    return {
        "exit": row.exit,
        "layer": row.layer,
        "live answer": measured(row.same),
        "differs": percent(row.differs.share),
        **({"accuracy": measured(row.accuracy)} if report.new.calibrated else {}),
        "flags": "chosen" if row.exit == report.exit else "",
    }
