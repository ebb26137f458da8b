"""Measures exits on labelled texts: accuracy, disagreement and Strong Dominance."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class ExitScores:
    """Figures of one set of texts; shares are 0..1, tuples have one entry per exit."""

    texts: int
    accuracy: tuple[float, ...]
    balanced_accuracy: tuple[float, ...]  # mean of the accuracies on each class
    disagreement: tuple[float, ...]  # texts whose label differs from exit 0's
    classes_said: tuple[int, ...]  # how many different labels the exit gives
    sd_violations: float  # texts that an exit gets right and a deeper one wrong

    @property
    def mean_accuracy(self) -> float:
        """The mean over exits of their accuracy."""
        return sum(self.accuracy) / len(self.accuracy)

    @property
    def constant_exits(self) -> tuple[int, ...]:
        """The exits that give every text the same label: they have learnt nothing."""
        return tuple(i for i, classes in enumerate(self.classes_said) if classes == 1)

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as plain values for JSON."""
        return asdict(self)


def report(labels: NDArray[np.integer[Any]], truth: Sequence[int]) -> ExitScores:
    """Measure an exit matrix against the truth.

    >>> report(np.array([[1, 1], [1, 0], [0, 0], [0, 1]]), [1, 1, 0, 1]).accuracy
    (0.75, 0.75)

    Args:
        labels: what each exit says, (texts, exits).
        truth: the right class of each text.
    """
    right = labels == np.asarray(truth)[:, None]  # (texts, exits)
    per_class = np.stack([right[np.asarray(truth) == c].mean(0) for c in sorted(set(truth))])
    return ExitScores(
        texts=len(truth),
        accuracy=tuple(right.mean(0).tolist()),
        balanced_accuracy=tuple(per_class.mean(0).tolist()),
        disagreement=tuple((labels != labels[:, :1]).mean(0).tolist()),
        classes_said=tuple(len(np.unique(column)) for column in labels.T),
        sd_violations=float((right[:, :-1] & ~right[:, 1:]).any(1).mean()),
    )
