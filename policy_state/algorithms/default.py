"""The default policy: paired gains, few scouts, few probes, a screen, a capped prior."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from policy_state.algorithms.arrays import Counters, constant_exits
from policy_state.algorithms.assessment import Assessment, known_values
from policy_state.algorithms.bounds import (
    Bounds,
    anchored_bounds,
    at_most_deeper,
    kl_bounds,
    last_best,
    paired_bounds,
)
from policy_state.algorithms.configured import Configured
from policy_state.algorithms.plays import spread, with_probes

if TYPE_CHECKING:
    from policy_state.algorithms.arrays import Bools
    from policy_state.algorithms.bounds import Exits, Floats
    from policy_state.stats import ExitStats

_TYPICAL_GAIN: Final = 0.35
_TYPICAL_DEPTH: Final = 0.2
"""Before any text is seen the error is thought to fall as 0.35 exp(-x / 0.2), x being the share of
layers run: between ElasticBERT on films and small models of our own on reviews and tweets."""

_SCOUTS_APART: Final = 8
"""An eighth of the scouts that are left go the same way before the next choice is worked out."""


class View(NamedTuple):
    """What the counters of one domain, or of many, come to: (...) or, by exit, (..., exits)."""

    counters: Counters
    unseen: Bools  # (...): the last exit was never observed
    moved: Bools  # (...): exit 0 is screened, so the last exit is what all are compared with
    costs: Floats  # (..., exits): infinite for exits that are not to be chosen
    bounds: Bounds


@dataclass(frozen=True)
class DefaultAlgorithm(Configured):
    """Learns a domain's exit from paired gains; `docs/policy.md` tells how and why.

    Of a micro-batch some events are scouts and follow the upper bound; the others take the best
    estimate, which leans on a prior while there are few texts.

    >>> from policy_state.algorithms.base import build
    >>> from policy_state.algorithms.settings import PolicySettings
    >>> from policy_state.stats import ExitStats
    >>> policy = build(PolicySettings(cost_weight=1.0), (1, 3, 7, 12))
    >>> policy.decide(ExitStats.zeros(4), 40).count(3)  # the scouts, to see all exits
    13
    >>> seen = ExitStats.from_texts([(0, 1, 1, 1), (1, 1, 1, 1)] * 500, exits=4)
    >>> policy.decide(seen, 4)
    (1, 1, 1, 1)
    """

    def decide(
        self,
        stats: ExitStats,
        count: int,
        *,
        rng: random.Random | None = None,
        workers: int = 1,
        pool: ExitStats | None = None,
    ) -> tuple[int, ...]:
        """Return an exit for each of the `count` events; see `Algorithm.decide`."""
        if count < 1:
            return ()
        draw = (rng or random.Random(stats.texts)).random()
        view = self.view(Counters.of(stats))
        settled = int(self.settled(view, self.prior_steps(pool)))
        plays = self._scouts(view, settled, count, workers)
        due = float(self._probes_due(view, count * workers)) / workers - plays.count(self.last)
        return spread(with_probes(plays, math.floor(due + draw), self.last), settled, count)

    def decide_one_each(self, counters: Counters, draws: Floats) -> Exits:
        """Return the exit of the next text of every domain: what `decide` returns for one event.

        Args:
            counters: Of the domains, (domains, exits).
            draws: What each domain's generator gives next, (domains,).
        """
        view = self.view(counters)
        scout = self.scout(view)
        due = self._probes_due(view, 1) - (scout == self.last)
        return np.where(due + draws >= 1, self.last, scout)

    def view(self, counters: Counters) -> View:
        """Return what the counters come to."""
        screened = self._screened(counters)
        costs = np.where(screened, np.inf, self._playable)
        bounds = self._bounds(counters, costs)
        moved = screened[..., 0]
        if moved.any():
            anchored = self._anchored(counters, costs)
            bounds = Bounds(
                np.where(moved[..., None], anchored.gain, bounds.gain),
                np.where(moved[..., None], anchored.upper, bounds.upper),
                np.where(moved, anchored.leader, bounds.leader),
            )
        return View(counters, counters.observed[..., -1] == 0, moved, costs, bounds)

    def scout(self, view: View) -> Exits:
        """Return where a scout goes, (...): the best by upper bound."""
        best = last_best(self._lowered(view.bounds.upper) - view.costs)
        if view.moved.any():  # only texts to the last exit tell of any rival
            best = np.where(view.moved & (best != view.bounds.leader), self.last, best)
        return np.where(view.unseen, self.last, best)

    def settled(self, view: View, prior_steps: Floats) -> Exits:
        """Return where all others go: the best by estimate.

        Args:
            view: Of one domain or of many.
            prior_steps: What each exit is thought to gain over the one before it, (exits,).
        """
        if not self.settings.prior:
            return np.where(view.unseen, self.last, view.bounds.leader)
        gains = self._believed_gains(view.counters, prior_steps)
        if self.last:  # nothing would be seen at exit 0
            gains[..., 0] = np.where(view.unseen, -np.inf, gains[..., 0])
        if self.settings.monotone:
            deeper = np.arange(self.last + 1) > view.bounds.leader[..., None]
            told = deeper & (view.counters.observed > 0)
            gains = np.minimum(gains, at_most_deeper(np.where(told, view.bounds.upper, np.inf)))
        return np.where(view.moved, view.bounds.leader, last_best(gains - view.costs))

    def assess(self, stats: ExitStats, *, pool: ExitStats | None = None) -> Assessment:
        """Return what the domain has settled on, and why; see `Algorithm.assess`."""
        view = self.view(Counters.of(stats))
        anchor = self.last if view.moved else 0
        added = np.array(self.costs) - self.costs[anchor]
        known = (
            view.counters.observed[[self.last] * len(self.layers) if anchor else slice(None)] > 0
        )
        return Assessment(
            exit=int(self.settled(view, self.prior_steps(pool))),
            rewards=known_values(view.bounds.gain - added, known),
            indices=known_values(self._lowered(view.bounds.upper) - added, known),
            screened=tuple(np.flatnonzero(self._screened(view.counters)).tolist()),
            anchor=anchor,
        )

    def prior_steps(self, pool: ExitStats | None = None) -> Floats:
        """Return what each exit is thought to gain: as in the pool, where that has seen texts."""
        if pool is None:
            return self._typical_steps
        seen, weight = Counters.of(pool), max(self.settings.prior, 1)
        steps = seen.gained - seen.lost + weight * self._typical_steps
        believed: Floats = steps / (seen.observed + weight)
        return believed

    def _scouts(self, view: View, settled: int, count: int, workers: int) -> list[int]:
        """Return where the scouts go; each knows what the ones before it are about to see."""
        scouts = max(1, int(min(count, self.scouts_in_all / workers)))
        plays: list[int] = []
        while len(plays) < scouts:
            play, some = int(self.scout(view)), scouts - len(plays)
            if play == settled or view.unseen:
                return plays + [play] * some
            some = 1 + some // _SCOUTS_APART
            plays += [play] * some
            view = self.view(view.counters.after(play, some * workers))  # other workers send theirs
        return plays

    def _bounds(self, counters: Counters, costs: Floats) -> Bounds:
        seen, alpha = np.maximum(counters.observed, 1), self.settings.alpha
        texts = counters.observed[..., :1]
        if self.settings.index == "kl":
            return kl_bounds(seen, counters.disagreed, texts, costs, alpha=alpha)
        return paired_bounds(seen, counters.gained, counters.lost, texts, costs, alpha=alpha)

    def _anchored(self, counters: Counters, costs: Floats) -> Bounds:
        full, texts = np.maximum(counters.observed[..., -1:], 1), counters.observed[..., :1]
        return anchored_bounds(full, counters.apart, texts, costs, alpha=self.settings.alpha)

    def _believed_gains(self, counters: Counters, prior_steps: Floats) -> Floats:
        weight = self.settings.prior
        texts = np.maximum(counters.observed + weight, 1)
        if self.settings.index == "kl":
            gains = (counters.disagreed + weight * prior_steps.cumsum()) / texts
        else:
            steps = counters.gained - counters.lost + weight * prior_steps
            gains = (steps / texts).cumsum(axis=-1)
        return gains

    def _lowered(self, upper: Floats) -> Floats:
        return at_most_deeper(upper) if self.settings.monotone else upper

    def _screened(self, counters: Counters) -> Bools:
        if self.settings.screen:
            return constant_exits(counters)
        return np.zeros(counters.observed.shape, dtype=np.bool_)

    def _probes_due(self, view: View, more: int) -> Floats:
        """Return how many texts to the last exit are missing after `more` texts."""
        observed = view.counters.observed
        share = self.probe_share[view.bounds.leader]
        due: Floats = share * (observed[..., 0] + more) - observed[..., -1]
        return due

    @cached_property
    def _typical_steps(self) -> Floats:
        depth = np.array(self.layers) / self.layers[-1]
        error = _TYPICAL_GAIN * np.exp(-depth / _TYPICAL_DEPTH)
        return -np.diff(error, prepend=error[0])

    @cached_property
    def _playable(self) -> Floats:
        """Costs; infinite for exits that a deeper one can replace at no more cost."""
        costs = np.array(self.costs)
        if self.settings.monotone:
            deeper = np.append(np.minimum.accumulate(costs[::-1])[::-1][1:], np.inf)
            costs[costs >= deeper] = np.inf
        return costs
