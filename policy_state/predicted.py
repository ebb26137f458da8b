"""What texts add to the counters: the same as they are predicted and as predictions are read."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from policy_state.stats import ExitStats

if TYPE_CHECKING:
    from collections.abc import Sequence


class Predicted(Protocol):
    """What the counters take of a text."""

    @property
    def exit_labels(self) -> tuple[int, ...]:
        """The labels of exits 0..k, where it stopped at k."""

    @property
    def exit_scores(self) -> tuple[int, ...]:
        """The probabilities of these labels, in thousandths; empty without a calibration."""

    @property
    def exit_credits(self) -> tuple[int, ...]:
        """What the step to each of these exits is worth; the same."""

    @property
    def chosen_exit(self) -> int | None:
        """The exit that the policy chose, of a text of the holdout or one that the gate let go."""

    @property
    def gate(self) -> int | None:
        """The threshold of the gate that it met; None if it met none."""


def counts_of(texts: Sequence[Predicted], *, exits: int) -> ExitStats:
    """Return what texts of one domain add to its counters, of a policy with this many exits."""
    plain = [text for text in texts if text.gate is None]
    calibrated = any(text.exit_credits for text in plain)
    counts = ExitStats.from_texts(
        [text.exit_labels for text in plain],
        exits=exits,
        credits=[_whole(t, t.exit_credits) for t in plain] if calibrated else None,
        scores=[_whole(t, t.exit_scores) for t in plain] if calibrated else None,
        chosen=[text.chosen_exit for text in plain],
    )
    if len(plain) == len(texts):
        return counts
    ends = Counter(len(text.exit_labels) - 1 for text in texts if text.gate is not None)
    return counts + replace(ExitStats.zeros(exits), gated=tuple(ends[j] for j in range(exits)))


def _whole(text: Predicted, thousandths: tuple[int, ...]) -> tuple[int, ...]:
    """Return them, or zeros for a prediction without any, which another program wrote."""
    return thousandths or (0,) * len(text.exit_labels)
