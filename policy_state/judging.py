"""What delayed labels say of a domain's choice. They judge it; they never steer it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from policy_state.diagnostics import Share
from policy_state.errors import InvalidStats

if TYPE_CHECKING:
    from collections.abc import Sequence

    from policy_state.assessment import Assessment


@dataclass(frozen=True, slots=True)
class Judgement:
    """True error per exit, and whether labels would have chosen the same exit."""

    errors: tuple[Share | None, ...]  # over the labelled texts that computed the exit
    exit: int  # the policy's
    exit_by_labels: int | None  # the least error plus cost; None where an exit has no labels
    lost_reward: float | None  # by being at `exit` instead; within chance if small

    @property
    def agrees(self) -> bool:
        """Whether labels choose the policy's exit, or have nothing to say."""
        return self.exit_by_labels in (None, self.exit)


def judge(
    exit_labels: Sequence[Sequence[int]],
    truth: Sequence[int],
    assessment: Assessment,
    costs: Sequence[float],
) -> Judgement:
    """Return what the labels of some texts say.

    Args:
        exit_labels: Of every labelled text, the labels of the exits it computed, from predictions.
        truth: Its label.
        assessment: What the policy makes of the domain.
        costs: Of every exit, weighted.
    """
    if len(exit_labels) != len(truth):
        raise InvalidStats(f"{len(exit_labels)} texts with {len(truth)} labels")
    wrong, seen = np.zeros(len(costs), dtype=np.int64), np.zeros(len(costs), dtype=np.int64)
    for labels, label in zip(exit_labels, truth, strict=True):
        seen[: len(labels)] += 1
        wrong[: len(labels)] += np.array(labels) != label
    errors = tuple(Share.of(int(w), int(n)) for w, n in zip(wrong, seen, strict=True))
    if not seen.all():
        return Judgement(errors, assessment.exit, None, None)
    losses = wrong / seen + np.array(costs)
    best = int(losses.argmin())
    return Judgement(errors, assessment.exit, best, float(losses[assessment.exit] - losses[best]))
