"""The default against UEE-UCB, case by case: where it does worst, and how sure that is."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.policy.ablations import ALGORITHMS
from benchmarks.policy.cases import Case
from benchmarks.report import Goal, Report, Table
from policy_state.simulation.outcomes import ReplayResult, outcome
from policy_state.simulation.replay import Fleet, Replay, replay

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ALONE = Fleet()
MOST_OVER = 1.2
"""What no case's regret may be over that of UEE-UCB."""

_LOOKED_AT = 3  # of each group, the worst: played again with more trials
_LEAST_REGRET = 1.0  # texts: a ratio to less would say nothing
_Z_95 = 1.959964


@dataclass(frozen=True, slots=True)
class Played:
    """What one algorithm did in a case."""

    replay: Replay
    outcome: ReplayResult
    regrets: NDArray[np.float64]  # (trials,): at the end
    seconds: float  # of one core, for the replay


@dataclass(frozen=True, slots=True)
class Duel:
    """Both algorithms on the same texts in the same orders."""

    group: str
    case: Case
    fleet: Fleet
    ours: Played
    theirs: Played

    @property
    def ratio(self) -> float:
        """Regret over that of UEE-UCB."""
        return self.ours.outcome.regret["end"].mean / self._theirs

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the ratio, by the spread of its residuals over the trials."""
        residuals = self.ours.regrets - self.ratio * self.theirs.regrets
        half = _Z_95 * float(residuals.std(ddof=1)) / math.sqrt(len(residuals)) / self._theirs
        return self.ratio - half, self.ratio + half

    @property
    def _theirs(self) -> float:
        return max(self.theirs.outcome.regret["end"].mean, _LEAST_REGRET)


def play(case: Case, name: str, trials: int, fleet: Fleet = ALONE) -> Played:
    """Return what one of `ALGORITHMS` did in a case, and what that came to."""
    print(f"{case.name}: {name}, {fleet.workers} x {fleet.batch}", file=sys.stderr)
    algorithm = ALGORITHMS[name](case.settings(), case.layers)
    scale, orders = case.scale(), case.orders(trials)
    started = time.process_time()
    played = replay(
        algorithm, case.labels, orders, credits=case.credits, fleet=fleet, pool=case.pool
    )
    seconds = time.process_time() - started
    regrets = scale.row_gaps()[played.orders, played.exits.astype(int)].sum(axis=1)
    return Played(played, outcome(played, scale), regrets, seconds)


def duel(group: str, case: Case, trials: int, fleet: Fleet = ALONE) -> Duel:
    """Return what both algorithms did in a case."""
    ours, theirs = (play(case, name, trials, fleet) for name in ("default", "uee-ucb"))
    return Duel(group, case, fleet, ours, theirs)


def worst_part(report: Report, duels: Sequence[Duel], trials: int) -> None:
    """Add a goal for each group, and a table of where the default does worst."""
    rows = []
    for group in dict.fromkeys(each.group for each in duels):
        worst = _worst([each for each in duels if each.group == group])[:_LOOKED_AT]
        again = _worst([_more_trials(each, trials) for each in worst])
        name = f"regret over that of UEE-UCB, {group}, worst"
        report.goals.append(Goal.at_most(name, MOST_OVER, again[0].ratio))
        for each in again:
            low, high = each.interval
            rows.append(
                (
                    group,
                    each.case.name,
                    f"{each.fleet.workers} x {each.fleet.batch}",
                    len(each.ours.regrets),
                    round(each.ours.outcome.regret["end"].mean, 1),
                    round(each.theirs.outcome.regret["end"].mean, 1),
                    f"{each.ratio:.2f} ({low:.2f} to {high:.2f})",
                )
            )
    columns = ("of", "case", "workers x batch", "trials", "default", "uee-ucb", "ratio (95 %)")
    report.tables.append(
        Table("Where the default does worst against UEE-UCB", columns, tuple(rows))
    )


def _worst(duels: Sequence[Duel]) -> list[Duel]:
    return sorted(duels, key=lambda each: -each.ratio)


def _more_trials(found: Duel, trials: int) -> Duel:
    if len(found.ours.regrets) >= trials:
        return found
    return duel(found.group, found.case, trials, found.fleet)
