"""What the holdout shows: how often chosen exits give the label of full depth, and layers saved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from policy_state.reports.shares import Share

if TYPE_CHECKING:
    from collections.abc import Sequence

    from policy_state.stats import ExitStats


@dataclass(frozen=True, slots=True)
class Holdout:
    """What stopping early saves and changes, by texts that ran to the last exit to measure it.

    They are chosen at random, so what they show holds for all texts of the domain.
    """

    agreement: Share  # texts whose label at the chosen exit was the last exit's, too
    layers_saved: Share  # layers behind the chosen exit, of all layers

    @property
    def texts(self) -> int:
        """How many texts the holdout has."""
        return self.agreement.texts


def holdout_of(stats: ExitStats, layers: Sequence[int]) -> Holdout | None:
    """Return what the holdout of a domain shows; None if it has no text yet.

    Args:
        stats: Counters of the domain.
        layers: One per exit.
    """
    texts = sum(stats.held)
    agreement = Share.of(texts - min(texts, sum(stats.parted)), texts)
    saved = Share.mean([1 - layer / layers[-1] for layer in layers], stats.held)
    return Holdout(agreement, saved) if agreement and saved else None
