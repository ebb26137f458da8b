"""How soon the algorithms recover where a domain has become another one."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from benchmarks.policy.cases import Case
from benchmarks.policy.duels import Duel, duel
from benchmarks.report import Goal, Report, Table
from policy_state.simulation.replay import Replay

_NEAR = 0.01
_WINDOW_TEXTS = 100
_WINDOW_RIGHT = 80
RECOVERED = (
    f"recovered: of the next {_WINDOW_TEXTS} texts at least {_WINDOW_RIGHT} go to an exit within "
    f"{_NEAR} of the best of the new domain, by labels or by all that can be known without; 5,000 "
    "where that never comes, 0 where the old exit still is such"
)


def drift_part(report: Report, cases: Sequence[Case], trials: int, duels: list[Duel]) -> None:
    """Add goal and table of the texts that both algorithms take to find the new exit."""
    rows, everything = [], []
    for case in cases:
        found = duel("drift", case, trials)
        duels.append(found)
        row: list[object] = [case.name]
        for played in (found.ours, found.theirs):
            delays = recovery(case, played.replay)
            if played is found.ours:
                everything += [delay for delay in delays if delay]
            row += [round(statistics.median(delays)), round(played.regrets.mean(), 1)]
        rows.append(tuple(row))
    median = statistics.median(everything) if everything else None
    report.goals.append(
        Goal.at_most("texts to recover from a change that asks for it, median", 500, median)
    )
    columns = ("change", "default: texts to recover", "regret", "uee-ucb: texts", "regret")
    report.tables.append(Table("Drift after 5,000 of 10,000 texts", columns, tuple(rows)))
    report.notes.append(RECOVERED)


def recovery(case: Case, played: Replay) -> list[int]:
    """Return for each trial after how many texts of the new domain its exit is played."""
    change = case.change or 0
    labelled = case.scale()
    gaps = np.minimum(labelled.row_gaps()[-1], replace(labelled, truth=None).row_gaps()[-1])
    found = []
    for exits in played.exits[:, change:]:
        right = np.concatenate(([0], np.cumsum(gaps[exits] <= _NEAR)))
        windows = right[_WINDOW_TEXTS:] - right[:-_WINDOW_TEXTS]
        good = np.flatnonzero(windows >= _WINDOW_RIGHT)
        found.append(int(good[0]) if len(good) else len(exits))
    return found
