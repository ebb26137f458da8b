"""What would change a domain's exit: the choice worked out again with other settings."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Final

from consumer.cli.output import document
from consumer.cli.policy.look import known_of
from policy_state.algorithms.base import build
from policy_state.reports.domain import domain_report
from policy_state.reports.shares import Share
from policy_state.wording import counted

if TYPE_CHECKING:
    from consumer.dashboard.board import Board
    from consumer.dashboard.documents import Document
    from policy_state.reports.domain import DomainReport
    from policy_state.stats import ExitStats
    from policy_state.store.values import DomainSnapshot, PolicyMeta


NO_GATE: Final = 0.889
"""The lowest place of the slider, just below what a gate may promise: no gate."""


@dataclass(frozen=True, slots=True)
class Instead:
    """Settings to be tried; None: those of the policy. 0 is no tolerance, or no gate."""

    cost_weight: float | None = None
    tolerance: float | None = None
    gate: float | None = None


def what_if(board: Board, name: str, instead: Instead) -> Document:
    """Return what a domain's counters choose with other settings. Nothing is changed.

    Raises:
        InvalidInput: the settings are none that a policy can have.
        DomainNotFound: nothing is known of the domain.
    """
    now, snapshot, opened, _ = known_of(board.settings, board.store, name)
    return tried(now, snapshot, opened.meta, instead, pool=board.store.totals().stats)


def tried(
    now: DomainReport,
    snapshot: DomainSnapshot,
    meta: PolicyMeta,
    instead: Instead,
    *,
    pool: ExitStats,
) -> Document:
    """Return the same of a domain that has been read; `now` is its report."""
    settings, name = meta.settings, now.domain
    if instead.cost_weight is not None:
        settings = replace(settings, cost_weight=instead.cost_weight)
    if instead.tolerance is not None:
        settings = replace(settings, tolerance=instead.tolerance or None)
    if instead.gate is not None:
        settings = replace(settings, gate=instead.gate)
    meta = replace(meta, settings=settings)
    rules = build(settings, meta.layers, credits=meta.calibrated)
    free = replace(snapshot, pin=None, pin_until_ms=None)
    report = domain_report(name, free, meta, rules, pool=pool)
    agreement = _as_full_depth(snapshot.stats, report.learnt)
    return document(
        "dashboard-what-if",
        [{"exit": e.exit, "reward": e.reward, "index": e.index} for e in report.exits],
        rows_name="exits",
        domain=name,
        settings={n: getattr(settings, n) for n in ("cost_weight", "tolerance", "gate")},
        exit=report.learnt,
        layer=report.layer,
        exit_now=now.learnt,
        layers_saved=1 - report.layer / meta.layers[-1],
        agreement=asdict(agreement) if agreement else None,
        gate=asdict(report.gate) if report.gate else None,
        text=" ".join(_said(report, now, agreement)),
    )


def _as_full_depth(stats: ExitStats, exit_: int) -> Share | None:
    full = stats.observed[-1]
    return Share.of(full - min(full, stats.apart[exit_]), full)


def _said(report: DomainReport, now: DomainReport, agreement: Share | None) -> list[str]:
    exit_, layers = report.learnt, report.exits[-1].layer
    stays = "stays at" if exit_ == now.learnt else f"moves from exit {now.learnt} to"
    saved = 1 - report.layer / layers
    where = f"exit {exit_} (layer {report.layer})"
    lines = [f"The choice {stays} {where}, which skips {saved:.0%} of the layers."]
    if agreement is not None and exit_ != report.exits[-1].exit:
        lines.append(
            f"Of {counted(agreement.texts, 'text')} that ran to the last exit, exit {exit_} gave "
            f"{agreement.share:.1%} the same label (95 % interval: {agreement.low:.1%} to "
            f"{agreement.high:.1%})."
        )
    if report.gate is not None:
        lines += report.gate.in_words() or [f"The domain has no use for a gate at exit {exit_}."]
    return lines
