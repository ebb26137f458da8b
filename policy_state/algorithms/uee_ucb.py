"""UEE-UCB: the published bandit that finds a domain's exit without labels.

HariNarayan N U, M. K. Hanawal, A. Bhardwaj, *Unsupervised Early Exit in DNNs with Multiple Exits*,
AIMLSystems 2022, arXiv:2209.09480.

In the paper's letters, exits (arms) are 1..K, gamma_i is the error rate of exit i, C_i its cost.
Under Strong Dominance the gain of exit i over exit 1 shows without labels, as disagreement:
gamma_1 - gamma_i = P(y_i != y_1). The reward of playing i is therefore

    r_i(t) = 1{y_i(t) != y_1(t)} + C_1 - C_i

and playing i observes the rewards of all j <= i. After t texts, with N_j(t) observations of exit j
and their mean reward r_j(t)-bar, the next text plays

    I_{t+1} = argmax_j  r_j(t)-bar + sqrt(alpha ln(t + 1) / N_j(t))

the first one on ties; while an exit was never observed the text goes to the last exit, which
observes all. Here exits count from 0, N_j is `stats.observed`, and the reward's mean needs only
`stats.disagreed`, because costs are constants.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from policy_state.algorithms.arrays import Assessment, Chosen, known_values
from policy_state.errors import InvalidInput
from policy_state.wording import counted

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from policy_state.algorithms.arrays import Bools, Counters
    from policy_state.algorithms.bounds import Exits, Floats
    from policy_state.stats import ExitStats


@dataclass(frozen=True, slots=True)
class UeeUcb:
    """The published algorithm, every event of a micro-batch playing the same index.

    The counters are those of before the batch, so the batch is one long play of one exit.

    >>> from policy_state.stats import ExitStats
    >>> UeeUcb(costs=(0.1, 0.5, 1.0)).decide(ExitStats.zeros(3), 4).exits
    (2, 2, 2, 2)
    """

    costs: tuple[float, ...]
    alpha: float = 1.0

    @property
    def name(self) -> str:
        """Always `uee-ucb`."""
        return "uee-ucb"

    @property
    def credits(self) -> bool:
        """Always false: every disagreement counts alike."""
        return False

    @property
    def priced(self) -> bool:
        """Always true."""
        return True

    @property
    def drift(self) -> float:
        """Always 0: it goes on with all that it ever saw."""
        return 0.0

    def decide(
        self,
        stats: ExitStats,
        count: int,
        *,
        rng: random.Random | None = None,  # noqa: ARG002 - nothing is left to chance
        workers: int = 1,  # noqa: ARG002 - all events explore, however many there are
        pool: ExitStats | None = None,  # noqa: ARG002 - every domain starts from nothing
    ) -> Chosen:
        """Return `count` times the exit with the highest index."""
        exit_ = choose_exit(stats, self.costs, alpha=self.alpha)
        return Chosen((exit_,) * count, best_exit(stats, self.costs))

    def assess(
        self,
        stats: ExitStats,
        *,
        pool: ExitStats | None = None,  # noqa: ARG002 - every domain starts from nothing
    ) -> Assessment:
        """Return the exit of the best mean, means and indices."""
        seen = [n > 0 for n in stats.observed]
        return Assessment(
            exit=best_exit(stats, self.costs),
            rewards=known_values(mean_rewards(stats, self.costs), seen),
            indices=known_values(indices(stats, self.costs, alpha=self.alpha), seen),
        )

    def settled_exits(
        self,
        counters: Counters,
        *,
        pool: ExitStats | None = None,  # noqa: ARG002 - every domain starts from nothing
    ) -> Exits:
        """Return the exits that domains have settled on; see `Algorithm.settled_exits`."""
        return self._best(counters, self._rewards(counters))

    def learning(
        self,
        counters: Counters,
        *,
        pool: ExitStats | None = None,  # noqa: ARG002 - every domain starts from nothing
    ) -> Bools:
        """Return which domains send their next text elsewhere than to the best exit so far."""
        rewards, texts = self._rewards(counters), counters.observed[..., :1]
        bonus = np.sqrt(self.alpha * np.log1p(texts) / np.maximum(counters.observed, 1))
        explores = self._best(counters, rewards + bonus) != self._best(counters, rewards)
        learning: Bools = explores | (counters.observed == 0).any(axis=-1)
        return learning

    def screened(self, counters: Counters) -> Bools:
        """Return that no exit is left out."""
        return np.zeros(counters.observed.shape, dtype=np.bool_)

    def _rewards(self, counters: Counters) -> Floats:
        costs = np.array(self.costs)
        rewards: Floats = counters.disagreed / np.maximum(counters.observed, 1) + costs[0] - costs
        return rewards

    def _best(self, counters: Counters, values: Floats) -> Exits:
        all_seen = (counters.observed > 0).all(axis=-1)
        return np.where(all_seen, values.argmax(axis=-1), len(self.costs) - 1)


def indices(stats: ExitStats, costs: Sequence[float], *, alpha: float = 1.0) -> tuple[float, ...]:
    """Return the index of every exit: mean reward plus bonus, infinite where never observed.

    >>> from policy_state.stats import ExitStats
    >>> stats = ExitStats(observed=(4, 2), disagreed=(0, 1), played=(2, 2))
    >>> [round(index, 3) for index in indices(stats, (0.25, 1.0))]
    [0.634, 0.647]
    """
    log_t = math.log(stats.texts + 1)
    return tuple(
        reward + math.sqrt(alpha * log_t / seen) if seen else math.inf
        for reward, seen in zip(mean_rewards(stats, costs), stats.observed, strict=True)
    )


def choose_exit(stats: ExitStats, costs: Sequence[float], *, alpha: float = 1.0) -> int:
    """Return the exit that the next text plays.

    >>> from policy_state.stats import ExitStats
    >>> choose_exit(ExitStats.zeros(3), (0.1, 0.5, 1.0))  # nothing observed: the last exit
    2
    >>> settled = ExitStats(observed=(999, 990, 99), disagreed=(0, 400, 40), played=(9, 891, 99))
    >>> choose_exit(settled, (0.1, 0.2, 1.0))
    1
    """
    if not all(stats.observed):
        return stats.exits - 1
    return _first_best(indices(stats, costs, alpha=alpha))


def best_exit(stats: ExitStats, costs: Sequence[float]) -> int:
    """Return the exit with the best mean reward so far, no bonus: what the domain has settled on.

    The last exit while one was never observed, as in `choose_exit`.
    """
    if not all(stats.observed):
        return stats.exits - 1
    return _first_best(mean_rewards(stats, costs))


def mean_rewards(stats: ExitStats, costs: Sequence[float]) -> tuple[float, ...]:
    """Return the mean reward of every exit, minus infinity where it was never observed."""
    if len(costs) != stats.exits:
        raise InvalidInput(
            f"{counted(len(costs), 'cost')} for counters of {counted(stats.exits, 'exit')}"
        )
    return tuple(
        disagreed / seen + costs[0] - cost if seen else -math.inf
        for disagreed, seen, cost in zip(stats.disagreed, stats.observed, costs, strict=True)
    )


def _first_best(values: Sequence[float]) -> int:
    return max(range(len(values)), key=values.__getitem__)
