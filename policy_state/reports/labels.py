"""What delayed labels say of a domain's choice. They judge it; they never steer it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from policy_state.algorithms.bounds import last_best
from policy_state.errors import InvalidInput
from policy_state.reports.shares import Share
from policy_state.stats import Z_95
from policy_state.wording import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_DOUBT: Final = 0.5
"""Texts added to those on which two exits differ, so that a few equal ones prove nothing."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A difference of two exits, with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Judgement:
    """True error per exit, and whether labels would have chosen the same exit."""

    errors: tuple[Share | None, ...]  # over the labelled texts that computed the exit
    served: Share | None  # the error of what was answered, at whichever exit
    exit: int  # the policy's
    exit_by_labels: int | None  # the best of the exits that have labels; None: nothing to go by
    lost_reward: Estimate | None  # by being at `exit` instead
    extra_error: Estimate | None  # of `exit` over the last one

    @property
    def agrees(self) -> bool:
        """Whether labels choose the policy's exit, or have nothing to say."""
        return self.exit_by_labels in (None, self.exit)

    @property
    def clear(self) -> bool:
        """Whether the exit by labels is better by more than chance."""
        return self.lost_reward is not None and self.lost_reward.low > 0


def judge(
    exit_labels: Sequence[Sequence[int]],
    truth: Sequence[int],
    *,
    exit_: int,
    costs: Sequence[float],
    tolerance: float | None = None,
) -> Judgement:
    """Return what the labels of some texts say.

    Two exits are compared step by step, each step on the texts that computed both its exits, as
    deep exits may have been computed at other times than shallow ones.

    Args:
        exit_labels: Of every labelled text, the labels of the exits it computed, from predictions.
        truth: Its label.
        exit_: The one that the policy has chosen.
        costs: Of every exit, weighted.
        tolerance: The most extra error over the last exit, where that is the policy's objective:
            labels then choose the cheapest exit that keeps it, and no reward is lost.
    """
    if len(exit_labels) != len(truth):
        raise InvalidInput(
            f"{counted(len(exit_labels), 'text')} with {counted(len(truth), 'label')}"
        )
    exits = len(costs)
    wrong = np.full((len(truth), exits), -1, dtype=np.int8)  # -1: not computed
    for row, labels, label in zip(wrong, exit_labels, truth, strict=True):
        if not 1 <= len(labels) <= exits:
            raise InvalidInput(
                f"{counted(len(labels), 'exit label')} for one text, of {counted(exits, 'exit')}"
            )
        row[: len(labels)] = np.array(labels) != label
    ran = wrong >= 0
    seen, errors = ran.sum(axis=0), (wrong > 0).sum(axis=0)
    served = sum(int(row[len(labels) - 1]) for row, labels in zip(wrong, exit_labels, strict=True))
    steps = _Steps.of(wrong, ran)
    known = seen > 0
    extra = steps.between(exit_, exits - 1) if known[-1] else None
    best = lost = None
    charged = np.where(known, np.array(costs), np.inf)
    if tolerance is not None:
        if known[-1]:
            over = np.array([steps.between(j, exits - 1).value for j in range(exits)])
            best = int(last_best(-np.where(over <= tolerance, charged, np.inf)))
    elif known[exit_]:
        best = int(last_best(-(steps.errors + charged)))
        lost = steps.between(exit_, best, added=costs[exit_] - costs[best])
    return Judgement(
        errors=tuple(Share.of(int(w), int(n)) for w, n in zip(errors, seen, strict=True)),
        served=Share.of(served, len(truth)),
        exit=exit_,
        exit_by_labels=best,
        lost_reward=lost,
        extra_error=extra,
    )


@dataclass(frozen=True, slots=True)
class _Steps:
    errors: Floats  # (exits,): the first exit's error, then each step added
    variances: Floats  # (exits,): of every step's mean

    @classmethod
    def of(cls, wrong: NDArray[np.int8], ran: NDArray[np.bool_]) -> _Steps:
        seen = np.maximum(ran.sum(axis=0), 1)
        steps = np.where(ran, np.diff(np.maximum(wrong, 0), axis=1, prepend=0), 0)
        means = steps.sum(axis=0) / seen
        changed = (np.abs(steps).sum(axis=0) + _DOUBT) / (seen + _DOUBT)
        return cls(means.cumsum(), (changed - means**2) / seen)

    def between(self, exit_: int, other: int, *, added: float = 0.0) -> Estimate:
        """Return how much more the one errs than the other, with `added` on top."""
        value = float(self.errors[exit_] - self.errors[other]) + added
        first, last = sorted((exit_, other))
        half = Z_95 * math.sqrt(max(0.0, float(self.variances[first + 1 : last + 1].sum())))
        return Estimate(value, value - half, value + half)
