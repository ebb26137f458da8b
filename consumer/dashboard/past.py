"""How a domain came to its exit: what the plots of its page show of its samples and changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from consumer.dashboard.plots import Mark, Plot, Series, plot, x_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from consumer.dashboard.plots import Band
    from policy_state.reports.domain import DomainReport
    from policy_state.store.admin import AuditEntry

_LEAST: Final = 3  # samples, with fewer nothing is drawn
_MARKS_APART: Final = 4
_LABELS_APART: Final = 48
_PRICES: Final = frozenset({"cost", "cost_weight", "tolerance", "algorithm", "gate"})
_MODEL: Final = frozenset({"import", "warm-start", "rebuild", "restart"})


@dataclass(frozen=True, slots=True)
class Moment:
    """A domain at one time: a sample, or now."""

    time_ms: int
    epoch: int
    report: DomainReport


def plots(moments: Sequence[Moment], changes: Sequence[AuditEntry]) -> list[Plot]:
    """Return the plots of a domain, none if there is too little to draw.

    Args:
        moments: Its samples, the oldest first, and how it is now.
        changes: Of the domain and of its policy, in any order.
    """
    if len(moments) < _LEAST:
        return []
    exits = range(len(moments[-1].report.exits))
    series = [
        Series(
            "shares",
            "Where texts stopped",
            "The share of the texts since the sample before that stopped at each exit.",
            _shares(moments),
            percent=True,
            whole=True,
            banded=False,
        ),
        Series(
            "gains",
            "Estimated gain of each exit",
            "Errors saved minus cost. The band goes up to the most that the gain may be.",
            {f"exit {j}": [_gain(each.report, j) for each in moments] for j in exits},
            percent=False,
        ),
        Series(
            "agreement",
            "Same label as full depth",
            "The share of texts with the label of the last exit, with its 95 % interval.",
            {"agreement": [_agreement(each.report) for each in moments]},
            percent=True,
        ),
    ]
    texts, marks = [each.report.texts for each in moments], list(marks_of(moments, changes))
    return [plot(each, texts, marks) for each in series]


def _shares(moments: Sequence[Moment]) -> dict[str, list[Band | None]]:
    exits = len(moments[-1].report.exits)
    found: dict[str, list[Band | None]] = {f"exit {j}": [] for j in range(exits)}
    before, epoch = [0] * exits, -1
    for each in moments:
        played = [e.played for e in each.report.exits]
        if each.epoch != epoch or sum(played) < sum(before):  # it was started afresh
            before, epoch = [0] * exits, each.epoch
        new = [max(0, now - then) for now, then in zip(played, before, strict=True)]
        texts = sum(new)
        for count, values in zip(new, found.values(), strict=True):
            values.append((count / texts,) * 3 if texts else None)
        before = played
    unknown: list[Band | None] = [None] * len(moments)
    return {n: line if any(v and v[0] for v in line) else unknown for n, line in found.items()}


def _gain(report: DomainReport, exit_: int) -> Band | None:
    row = report.exits[exit_]
    if row.reward is None:
        return None
    return row.reward, row.reward, row.reward if row.index is None else row.index


def _agreement(report: DomainReport) -> Band | None:
    share = report.holdout.agreement if report.holdout else report.diagnosis.agreement
    return (share.share, share.low, share.high) if share else None


def marks_of(moments: Sequence[Moment], changes: Sequence[AuditEntry]) -> Iterator[Mark]:
    """Yield a line for every change, between the samples before and after it."""
    last = labelled = 0.0
    many = len(moments)
    for change in sorted(changes, key=lambda each: each.time_ms):
        kind = _kind(change)
        after = next((i for i, each in enumerate(moments) if each.time_ms >= change.time_ms), None)
        if kind is None or after == 0:
            continue
        at = many - 1 if after is None else after
        last = max((x_of(at - 1, many) + x_of(at, many)) / 2, last + _MARKS_APART)
        room = last - labelled >= _LABELS_APART
        labelled = last if room else labelled
        yield Mark(round(last, 1), kind, change.reason or kind, room)


def _kind(change: AuditEntry) -> str | None:
    """Return how a change is called in a plot, None if it is not shown."""
    if change.action == "reset":
        return "drift" if change.automatic else "reset"
    if change.action in {"pin", "unpin", "freeze", "unfreeze", "label", "unlabel"}:
        return change.action
    if change.action == "configure" and _PRICES & change.detail.keys():
        return "cost"
    return "model" if change.action in _MODEL else None
