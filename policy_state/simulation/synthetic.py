"""Made-up domains whose best exit is known: for teaching and for tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from policy_state.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class SyntheticDomain:
    """Texts of which each exit gets a known share wrong.

    Every text has a difficulty, uniform in 0..1, and exit j is right where it is above `errors[j]`:
    with errors that fall with depth, an exit that is right is followed by exits that are right, so
    Strong Dominance holds. On a share `violations` of the texts each exit errs independently
    instead, as often as before.
    """

    errors: tuple[float, ...]  # by exit
    violations: float = 0.0  # share of texts on which the exits err independently
    classes: int = 2
    first_share: float | None = None  # share of class 0; None: all classes alike
    constant: tuple[int, ...] = ()  # exits that say class 0 of every text

    def __post_init__(self) -> None:
        """Refuse shares outside 0..1 and fewer than two classes."""
        shares = (*self.errors, self.violations, self.first_share or 0.0)
        if not self.errors or not all(0 <= share <= 1 for share in shares) or self.classes < 2:  # noqa: PLR2004
            raise InvalidInput(f"{self}: expected shares in 0..1, and 2 classes or more")

    def texts(
        self, count: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.int8], NDArray[np.int8]]:
        """Return the labels (count, exits) and the true labels (count,) of so many texts."""
        first = 1 / self.classes if self.first_share is None else self.first_share
        truth = np.where(rng.random(count) < first, 0, rng.integers(1, self.classes, count))
        shape = (count, len(self.errors))
        difficulty = np.repeat(rng.random((count, 1)), shape[1], axis=1)
        odd_ones = rng.random(count) < self.violations
        difficulty[odd_ones] = rng.random((int(odd_ones.sum()), shape[1]))
        wrong = difficulty < np.array(self.errors)
        # One wrong label per text: exits that err alike say the same.
        other = (truth + rng.integers(1, self.classes, count)) % self.classes
        labels = np.where(wrong, other[:, None], truth[:, None])
        labels[:, list(self.constant)] = 0
        return labels.astype(np.int8), truth.astype(np.int8)

    @staticmethod
    def credits(labels: NDArray[np.int8], truth: NDArray[np.int8]) -> NDArray[np.int16]:
        """Return the credit of every step, in thousandths, (count, exits), as for a real model.

        Where an exit says something else than the one before it, the step is worth what such texts
        gain on average, at least 0.
        """
        right = (labels == truth[:, None]).astype(np.int8)
        differs = np.diff(labels, axis=1, prepend=labels[:, :1]) != 0
        gained = np.diff(right, axis=1, prepend=right[:, :1]).sum(axis=0, dtype=np.int64)
        worth = np.maximum(gained, 0) / np.maximum(differs.sum(axis=0), 1)
        credits: NDArray[np.int16] = (differs * np.round(1000 * worth)).astype(np.int16)
        return credits

    def best_exit(self, costs: Sequence[float]) -> int:
        """Return the exit of least error plus cost, the first one of equals."""
        return int(np.argmin(np.array(self.errors) + np.array(costs)))
