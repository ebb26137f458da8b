"""What estimates of a step are worth when all texts are known: what is left is their bias."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.policy.cases import Case
from policy_state.algorithms.arrays import Counters
from policy_state.algorithms.base import build
from policy_state.algorithms.default import DefaultAlgorithm
from policy_state.algorithms.settings import PolicySettings
from policy_state.reports.accuracy import estimated_accuracy
from policy_state.stats import ExitStats

if TYPE_CHECKING:
    from numpy.typing import NDArray

TOLERANCE = 0.02
WEIGHTS = (0.03, 0.1, 0.3)
OFTEN = 1_000
"""How often each text is counted, so that nothing is left of prior and bounds."""

_BINS = 15


@dataclass(frozen=True, slots=True)
class Estimate:
    """What one rule makes of a domain of which it has seen all texts."""

    error: float  # of the gain over exit 0, mean over the other exits
    regret: dict[float, float]  # per 10,000 texts, by cost weight
    layers: float | None  # by tolerance; None where the rule has none
    extra_error: float | None  # over the last exit, by tolerance


def paper(case: Case) -> Estimate:
    """Return what counting disagreement with exit 0 makes of a domain."""
    gains = (case.labels != case.labels[:, :1]).mean(axis=0)
    exits = {w: int(np.argmax(gains - w * _depth(case))) for w in WEIGHTS}
    return _estimate(case, gains, exits, None)


def by_labels(case: Case) -> Estimate:
    """Return what the default algorithm makes of the labels alone."""
    return _default(case, credits=False)


def by_credits(case: Case) -> Estimate:
    """Return what it makes of the credits."""
    return _default(case, credits=True)


RULES: dict[str, Callable[[Case], Estimate]] = {
    "disagreement with exit 0": paper,
    "default without credits": by_labels,
    "default with credits": by_credits,
}


def exit_of(case: Case, settings: PolicySettings, *, credits: bool) -> int:
    """Return where the default algorithm sends a domain of which it has seen all texts."""
    return build(settings, case.layers, credits=credits).assess(counted_often(case)).exit


def exits_at_infinity(case: Case) -> tuple[int, int, int]:
    """Return the best exit, that of the default with credits, and without."""
    ours, theirs = (exit_of(case, PolicySettings(), credits=each) for each in (True, False))
    return int(case.scale().losses.argmin()), ours, theirs


def mixed(case: Case, share: float) -> Case:
    """Return the case with credits of which the worth of the step has another share than half."""
    assert case.credits is not None
    worth = np.array((0.0, *(case.worth or ())))
    confidence = case.credits / 500 - worth
    credits = np.round(1000 * (share * worth + (1 - share) * confidence)) * (case.credits > 0)
    return replace(case, credits=credits.clip(0, 1000).astype(np.int16))


def best_by_labels(case: Case) -> tuple[float, float]:
    """Return layers and extra error of the cheapest exit within the tolerance by the truth."""
    extra = _extra_errors(case)
    exit_ = int(np.argmax(extra <= TOLERANCE))
    return case.layers[exit_], float(extra[exit_])


def calibration_error(case: Case) -> float:
    """Return the distance of confidence and accuracy over bins of confidence, mean over exits."""
    assert case.scores is not None
    confidence, hits = case.scores / 1000, case.labels == case.truth[:, None]
    bins = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    exits = range(len(case.layers))
    apart = [np.bincount(bins[:, j], hits[:, j] - confidence[:, j]) for j in exits]
    return float(np.mean([np.abs(each).sum() for each in apart]) / len(bins))


def accuracy_error(case: Case) -> float:
    """Return the distance of the accuracy that is estimated without labels, mean over exits."""
    stats = ExitStats.from_matrix(case.labels, credits=case.credits, scores=case.scores)
    accuracy = (case.labels == case.truth[:, None]).mean(axis=0)
    shares = estimated_accuracy(stats, classes=max(2, int(case.truth.max()) + 1))
    assert shares is not None
    return float(
        np.mean([abs(of.share - right) for of, right in zip(shares, accuracy, strict=True)])
    )


def _default(case: Case, *, credits: bool) -> Estimate:
    algorithm = build(PolicySettings(), case.layers, credits=credits)
    assert isinstance(algorithm, DefaultAlgorithm)
    gains = algorithm.view(Counters.of(counted_often(case))).bounds.gain
    exits = {w: exit_of(case, PolicySettings(cost_weight=w), credits=credits) for w in WEIGHTS}
    certain = exit_of(case, PolicySettings(tolerance=TOLERANCE), credits=credits)
    return _estimate(case, gains - gains[0], exits, certain)


def _estimate(
    case: Case, gains: NDArray[np.float64], exits: dict[float, int], certain: int | None
) -> Estimate:
    accuracy = (case.labels == case.truth[:, None]).mean(axis=0)
    regret = {}
    for weight, exit_ in exits.items():
        reward = accuracy - weight * _depth(case)
        regret[weight] = 10_000 * float(reward.max() - reward[exit_])
    return Estimate(
        error=float(np.abs(gains - (accuracy - accuracy[0]))[1:].mean()),
        regret=regret,
        layers=None if certain is None else case.layers[certain],
        extra_error=None if certain is None else float(_extra_errors(case)[certain]),
    )


def _extra_errors(case: Case) -> NDArray[np.float64]:
    accuracy = (case.labels == case.truth[:, None]).mean(axis=0)
    extra: NDArray[np.float64] = accuracy[-1] - accuracy
    return extra


def _depth(case: Case) -> NDArray[np.float64]:
    return np.array(case.layers) / case.layers[-1]


def counted_often(case: Case) -> ExitStats:
    """Return the counters after all texts of a domain have come often."""
    once = ExitStats.from_matrix(case.labels, credits=case.credits)
    return ExitStats(*(tuple(OFTEN * n for n in getattr(once, kind.name)) for kind in fields(once)))


def mean_and_worst(values: Sequence[float], scale: float = 1, digits: int = 0) -> str:
    """Return both as a cell of a table."""
    return f"{scale * np.mean(values):.{digits}f} ({scale * np.max(values):.{digits}f})"
