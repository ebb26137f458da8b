"""What the gate saves and costs, which lets sure texts stop early, and what a holdout shows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.policy.cases import Case
from benchmarks.policy.estimates import exit_of
from policy_state.algorithms.gate import AUDIT_SHARE, threshold
from policy_state.algorithms.settings import PolicySettings
from policy_state.reports.shares import Share
from policy_state.stats import ExitStats

if TYPE_CHECKING:
    from numpy.typing import NDArray

IN_FORCE = "99 %"
PROMISES = {"98 %": 0.98, IN_FORCE: 0.99, "99.5 %": 0.995}
"""The share of texts to keep the label of their domain's exit."""

HOLDOUT = 0.01
_SPLITS = 10  # of a domain in two halves
_TEXTS, _DRAWS = 10_000, 100  # of a holdout


@dataclass(frozen=True, slots=True)
class Gated:
    """One domain, or the mean of several. Layers are shares of all layers of the model.

    Layers count what is not gated, too: the audited texts and the holdout.
    """

    exit: float  # layers without the gate
    layers: float
    agreement: float  # of gated texts with the exit of the domain
    accuracy: float  # of gated texts
    lost: float  # accuracy of the domain's exit minus that of gated texts
    lost_to_last: float

    @classmethod
    def mean(cls, found: list[Gated]) -> Gated:
        """Return the mean of each figure."""
        rows = [[getattr(each, name) for name in cls.__dataclass_fields__] for each in found]
        return cls(*np.mean(rows, axis=0).tolist())


def gated(case: Case, promise: float) -> Gated:
    """Return what the gate does on one half of a domain, learnt on the other, over all splits."""
    return Gated.mean([_on_a_half(case, *halves, promise) for halves in _halves(case)])


def _halves(case: Case) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    rng = np.random.default_rng(0)
    for _ in range(_SPLITS):
        rows = rng.permutation(len(case.labels))
        yield rows[: len(rows) // 2], rows[len(rows) // 2 :]


def _on_a_half(
    case: Case,
    learnt: NDArray[np.intp],
    tried: NDArray[np.intp],
    promise: float,
) -> Gated:
    exit_ = exit_of(case.taken(learnt), PolicySettings(), credits=True)
    gate = threshold(_seen(case.taken(learnt), exit_), exit_, promise)
    case = case.taken(tried)
    stops = _stops(case, exit_, gate)
    sent = np.take_along_axis(case.labels, stops[:, None], axis=1)[:, 0]
    right = (case.labels == case.truth[:, None]).mean(axis=0)
    accuracy = float((sent == case.truth).mean())
    depth = np.array(case.layers) / case.layers[-1]
    alone = (1 - HOLDOUT) * depth[exit_] + HOLDOUT
    layers = AUDIT_SHARE * depth[exit_] + (1 - AUDIT_SHARE) * depth[stops].mean()
    return Gated(
        exit=alone,
        layers=float((1 - HOLDOUT) * layers + HOLDOUT),
        agreement=float((sent == case.labels[:, exit_]).mean()),
        accuracy=accuracy,
        lost=float(right[exit_] - accuracy),
        lost_to_last=float(right[-1] - accuracy),
    )


def _seen(case: Case, exit_: int) -> ExitStats:
    """Return the counters of texts that stopped at the exit without having met the gate."""
    labels = case.labels.copy()
    labels[:, exit_ + 1 :] = -1
    return ExitStats.from_matrix(labels, scores=case.scores)


def _stops(case: Case, exit_: int, gate: int) -> NDArray[np.intp]:
    """Return where each text stops, as `first_sure` does."""
    assert case.scores is not None
    sure = (case.scores >= gate) & (gate > 0)
    sure[:, exit_:] = True
    stops: NDArray[np.intp] = sure.argmax(axis=1)
    return stops


def holdout_covers(case: Case) -> tuple[float, float]:
    """Return how often the interval of the holdout has the true agreement, and its mean width.

    The domain sends 10,000 texts to its exit; one in a hundred runs to the last exit.
    """
    exit_ = exit_of(case, PolicySettings(), credits=True)
    agreement = float((case.labels[:, exit_] == case.labels[:, -1]).mean())
    rng = np.random.default_rng(0)
    held = rng.binomial(_TEXTS, HOLDOUT, _DRAWS)
    agreed = rng.binomial(held, agreement).tolist()
    found = [Share.of(hits, texts) for hits, texts in zip(agreed, held.tolist(), strict=True)]
    known = [share for share in found if share is not None]
    covered = [share.low <= agreement <= share.high for share in known]
    return float(np.mean(covered)), float(np.mean([share.high - share.low for share in known]))
