"""The default algorithm: paired gains, few scouts, few probes, a screen, a capped prior."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Final, NamedTuple

import numpy as np

from policy_state.algorithms.arrays import Assessment, Counters, constant_exits, known_values
from policy_state.algorithms.bounds import (
    Bounds,
    anchored_bounds,
    at_most_deeper,
    last_best,
    paired_bounds,
)
from policy_state.algorithms.exploring import ExploringAlgorithm

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
    anchored_last: Bools  # (...): exit 0 is screened, so all are compared with the last exit
    costs: Floats  # (..., exits): infinite for exits that are not to be chosen
    bounds: Bounds


@dataclass(frozen=True)
class DefaultAlgorithm(ExploringAlgorithm):
    """Learns a domain's exit from paired gains; `docs/policy.md` tells how and why.

    Of a micro-batch some events are scouts and follow the upper bound; the others take the best
    estimate, which leans on a prior while there are few texts.

    >>> from policy_state.algorithms.base import build
    >>> from policy_state.algorithms.settings import PolicySettings
    >>> from policy_state.stats import ExitStats
    >>> algorithm = build(PolicySettings(cost_weight=1.0), (1, 3, 7, 12))
    >>> algorithm.decide(ExitStats.zeros(4), 40).exits.count(3)  # the scouts, to see all exits
    13
    >>> seen = ExitStats.from_texts([(0, 1, 1, 1), (1, 1, 1, 1)] * 500, exits=4)
    >>> algorithm.decide(seen, 4)
    Chosen(exits=(1, 1, 1, 1), settled=1)
    """

    prior_texts: ClassVar = 20.0  # that count for what a new domain is thought to gain

    def view(self, counters: Counters) -> View:
        """Return what the counters come to."""
        screened = self.screened(counters)
        costs = np.where(screened, np.inf, self._playable)
        bounds = self._bounds(counters, costs)
        anchored_last = screened[..., 0]
        if anchored_last.any():
            anchored = self._anchored(counters, costs)
            bounds = Bounds(
                np.where(anchored_last[..., None], anchored.gain, bounds.gain),
                np.where(anchored_last[..., None], anchored.upper, bounds.upper),
                np.where(anchored_last, anchored.leader, bounds.leader),
            )
        return View(counters, counters.observed[..., -1] == 0, anchored_last, costs, bounds)

    def scout(self, view: View) -> Exits:
        """Return where a scout goes, (...): the best by upper bound."""
        best = last_best(self._lowered(view.bounds.upper) - view.costs)
        if view.anchored_last.any():  # only texts to the last exit tell of any rival
            best = np.where(view.anchored_last & (best != view.bounds.leader), self.last, best)
        return np.where(view.unseen, self.last, best)

    def settled(self, view: View, prior_steps: Floats) -> Exits:
        """Return where all others go: the best by estimate.

        Args:
            view: Of one domain or of many.
            prior_steps: What each exit is thought to gain over the one before it, (exits,).
        """
        gains = self._capped(self._believed_gains(view.counters, prior_steps), view)
        if self.last:  # nothing would be seen at exit 0
            gains[..., 0] = np.where(view.unseen, -np.inf, gains[..., 0])
        return np.where(view.anchored_last, view.bounds.leader, last_best(gains - view.costs))

    def assess(self, stats: ExitStats, *, pool: ExitStats | None = None) -> Assessment:
        """Return what the domain has settled on, and why; see `Algorithm.assess`."""
        view = self.view(Counters.of(stats))
        anchor = self.last if view.anchored_last else 0
        added = np.array(self.costs) - self.costs[anchor]
        known = (
            view.counters.observed[[self.last] * len(self.layers) if anchor else slice(None)] > 0
        )
        return Assessment(
            exit=int(self.settled(view, self.prior_steps(pool))),
            rewards=known_values(view.bounds.gain - added, known),
            indices=known_values(self._lowered(view.bounds.upper) - added, known),
            screened=tuple(np.flatnonzero(self.screened(view.counters)).tolist()),
            anchor=anchor,
        )

    def settled_exits(self, counters: Counters, *, pool: ExitStats | None = None) -> Exits:
        """Return the exits that domains have settled on; see `Algorithm.settled_exits`."""
        return self.settled(self.view(counters), self.prior_steps(pool))

    def learning(self, counters: Counters, *, pool: ExitStats | None = None) -> Bools:
        """Return which domains go by what others gain, or have exits that may be better."""
        view = self.view(counters)
        settled = self.settled(view, self.prior_steps(pool))
        elsewhere = (settled != view.bounds.leader) | (settled != self.scout(view))
        learning: Bools = elsewhere | view.unseen
        return learning

    def prior_steps(self, pool: ExitStats | None = None) -> Floats:
        """Return what each exit is thought to gain: as in the pool, where that has seen texts."""
        if pool is None:
            return self._typical_steps
        seen = Counters.of(pool)
        gained, _ = seen.steps(credits=self.credits)
        steps = gained + self.prior_texts * self._typical_steps
        believed: Floats = steps / (seen.observed + self.prior_texts)
        return believed

    def _plays(
        self, counters: Counters, scouts: int, workers: int, pool: ExitStats | None
    ) -> tuple[list[int], int, Exits]:
        """Return where scouts go; each knows what the ones before it are about to see."""
        view = self.view(counters)
        leader, settled = view.bounds.leader, int(self.settled(view, self.prior_steps(pool)))
        plays: list[int] = []
        while len(plays) < scouts:
            play, some = int(self.scout(view)), scouts - len(plays)
            if play != settled and not view.unseen:
                some = 1 + some // _SCOUTS_APART
            plays += [play] * some
            if len(plays) < scouts:  # other workers send theirs
                view = self.view(view.counters.after(play, some * workers))
        return plays, settled, leader

    def _next(self, counters: Counters) -> tuple[Exits, Exits]:
        view = self.view(counters)
        return self.scout(view), view.bounds.leader

    def _bounds(self, counters: Counters, costs: Floats) -> Bounds:
        seen, texts = np.maximum(counters.observed, 1), counters.observed[..., :1]
        alpha = self.settings.alpha
        gained, squares = counters.steps(credits=self.credits)
        return paired_bounds(seen, gained, squares, texts, costs, alpha=alpha)

    def _anchored(self, counters: Counters, costs: Floats) -> Bounds:
        full, texts = np.maximum(counters.observed[..., -1:], 1), counters.observed[..., :1]
        return anchored_bounds(full, counters.apart, texts, costs, alpha=self.settings.alpha)

    def _believed_gains(self, counters: Counters, prior_steps: Floats) -> Floats:
        gained, _ = counters.steps(credits=self.credits)
        steps = gained + self.prior_texts * prior_steps
        gains: Floats = (steps / (counters.observed + self.prior_texts)).cumsum(axis=-1)
        return gains

    def _capped(self, gains: Floats, view: View) -> Floats:
        """Return the gains, of deeper exits than the leader at most what the bounds allow."""
        deeper = np.arange(self.last + 1) > view.bounds.leader[..., None]
        told = deeper & (view.counters.observed > 0)
        return np.minimum(gains, at_most_deeper(np.where(told, view.bounds.upper, np.inf)))

    def _lowered(self, upper: Floats) -> Floats:
        return at_most_deeper(upper)

    def screened(self, counters: Counters) -> Bools:
        """Return which exits are left out because they say the same of every text."""
        if self.credits:  # a step from an exit that always says the same is worth what it is worth
            return np.zeros(counters.observed.shape, dtype=np.bool_)
        return constant_exits(counters)

    @cached_property
    def _typical_steps(self) -> Floats:
        depth = np.array(self.layers) / self.layers[-1]
        error = _TYPICAL_GAIN * np.exp(-depth / _TYPICAL_DEPTH)
        return -np.diff(error, prepend=error[0])

    @cached_property
    def _playable(self) -> Floats:
        """Costs; infinite for exits that a deeper one can replace at no more cost."""
        costs = np.array(self.costs)
        deeper = np.append(np.minimum.accumulate(costs[::-1])[::-1][1:], np.inf)
        costs[costs >= deeper] = np.inf
        return costs
