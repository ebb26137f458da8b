"""The default algorithm with a part left out or replaced, to measure what that part is for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from policy_state.algorithms.base import Algorithm, build
from policy_state.algorithms.bounds import Bounds, coin_upper_bound, last_best
from policy_state.algorithms.default import DefaultAlgorithm, View
from policy_state.algorithms.settings import PolicySettings

if TYPE_CHECKING:
    from policy_state.algorithms.arrays import Bools, Counters
    from policy_state.algorithms.bounds import Exits, Floats

Make = Callable[[PolicySettings, Sequence[int]], Algorithm]
"""What makes an algorithm of settings, for a model with exits after some layers."""


class Kl(DefaultAlgorithm):
    """Takes every exit by itself, with the KL-UCB bound of its disagreement."""

    def _bounds(self, counters: Counters, costs: Floats) -> Bounds:
        seen, texts = np.maximum(counters.observed, 1), counters.observed[..., :1]
        return kl_bounds(seen, counters.disagreed, texts, costs, alpha=self.settings.alpha)

    def _believed_gains(self, counters: Counters, prior_steps: Floats) -> Floats:
        believed = counters.disagreed + self.prior_texts * prior_steps.cumsum()
        gains: Floats = believed / (counters.observed + self.prior_texts)
        return gains


class NotMonotone(DefaultAlgorithm):
    """Takes it that a deeper exit may be worse."""

    def _capped(self, gains: Floats, view: View) -> Floats:  # noqa: ARG002 - by nothing
        return gains

    def _lowered(self, upper: Floats) -> Floats:
        return upper

    @property
    def _playable(self) -> Floats:
        return np.array(self.costs)


class WithoutPrior(DefaultAlgorithm):
    """Sends all texts to the last exit until each exit was seen, then goes by what it saw."""

    def settled(self, view: View, prior_steps: Floats) -> Exits:  # noqa: ARG002 - there is none
        """Return the exit that leads; the last one while it was never observed."""
        return np.where(view.unseen, self.last, view.bounds.leader)


class WithoutProbes(DefaultAlgorithm):
    """Lets no text run through the model that need not."""

    @property
    def probe_share(self) -> Floats:
        """No text, whichever exit leads."""
        return np.zeros(len(self.layers))


class WithoutScreen(DefaultAlgorithm):
    """Leaves no exit out, whatever it says."""

    def screened(self, counters: Counters) -> Bools:
        """Return that no exit is left out."""
        return np.zeros(counters.observed.shape, dtype=np.bool_)


def kl_bounds(
    observed: Floats, disagreed: Floats, texts: Floats, costs: Floats, *, alpha: float
) -> Bounds:
    """Return mean disagreement and its KL-UCB of every exit, each exit taken by itself.

    The upper bound is the largest q with N kl(mean, q) <= alpha ln(1 + t / N), kl between coins.

    Args:
        observed: N without zeros, (..., exits).
        disagreed: Texts of `observed` whose label differed from exit 0's, (..., exits).
        texts: t, (..., 1).
        costs: C, (exits,).
        alpha: Width of the bound.
    """
    mean = disagreed / observed
    upper = coin_upper_bound(mean, alpha * np.log1p(texts / observed) / observed)
    return Bounds(mean, upper, last_best(mean - costs))


def _variant(kind: type[DefaultAlgorithm]) -> Make:
    return lambda settings, layers: kind(settings, tuple(layers))


def _changed(**changes: Any) -> Make:  # noqa: ANN401 - a value for any setting
    return lambda settings, layers: build(replace(settings, **changes), layers)


ABLATIONS: dict[str, Make] = {
    "default": build,
    "KL-UCB": _variant(Kl),
    "a deeper exit may be worse": _variant(NotMonotone),
    "scouts = 0 (all)": _changed(scouts=0.0),
    "no prior": _variant(WithoutPrior),
    "no probes": _variant(WithoutProbes),
    "no screen": _variant(WithoutScreen),
    "drift = 0": _changed(drift=0.0),
    "uee-ucb": _changed(algorithm="uee-ucb"),
}

ALGORITHMS: dict[str, Make] = ABLATIONS | {"credits": partial(build, credits=True)}
"""All of them, and the default of a calibrated model."""
