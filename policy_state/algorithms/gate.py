"""The gate of a domain: the score at which a text may stop before the domain's exit.

The texts that stop at exit k without having met the gate show what each threshold of the grid would
do to the domain: the share of them that it would have let go earlier with another label than k's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from policy_state.counting import GATE_GRID
from policy_state.stats import MISLED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from policy_state.stats import ExitStats

AUDIT_SHARE: Final = 0.05
"""Share of the texts bound for the exit of a domain that do not meet its gate, to measure it."""

AUDITED_LEAST: Final = 200
"""Texts that must have stopped at an exit without meeting the gate before it opens there."""


def threshold(stats: ExitStats, exit_: int, promise: float) -> int:
    """Return the score, in thousandths, at which texts bound for an exit may stop earlier.

    It is the lowest of the grid that keeps the promise, were one text more misled; 0, a closed
    gate, if none does, or if too few texts show it. A gate that turns out to break its promise gets
    a higher threshold or is closed by the same rule.

    Args:
        stats: Of the domain.
        exit_: The exit of the domain.
        promise: The share of texts that are to keep the label of this exit; 0: no gate.

    >>> from policy_state.stats import ExitStats
    >>> sure, wrong = [(0, 0), (960, 990)], [(1, 0), (820, 900)]
    >>> labels, scores = zip(*[sure] * 380, *[wrong] * 20)
    >>> threshold(ExitStats.from_texts(labels, exits=2, scores=scores), 1, promise=0.99)
    830
    """
    if not promise or not exit_ or stats.played[exit_] < AUDITED_LEAST:
        return 0
    for score, wrong in zip(GATE_GRID, misled(stats, exit_), strict=True):
        if (wrong + 1) / (stats.played[exit_] + 1) <= 1 - promise:
            return score
    return 0


def misled(stats: ExitStats, exit_: int) -> tuple[int, ...]:
    """Return how many texts each threshold of the grid would have sent with another label."""
    return tuple(getattr(stats, kind)[exit_] for kind in MISLED)


def first_sure(scores: Sequence[int], exit_: int, gate: int) -> int:
    """Return the exit at which a text stops that is bound for `exit_`, by its scores.

    >>> first_sure((700, 960, 980, 990), 3, 950), first_sure((700, 960, 980, 990), 3, 0)
    (1, 3)
    """
    if not gate:
        return exit_
    return next((j for j, score in enumerate(scores[:exit_]) if score >= gate), exit_)
