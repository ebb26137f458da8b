"""What a replay came to: accuracy, cost, layers, regret, beside fixed and random choices."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from policy_state.errors import InvalidInput
from policy_state.stats import Z_95
from policy_state.wording import counted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from policy_state.simulation.replay import Replay

HORIZONS: Final = (1_000, 10_000, 50_000)
_CURVE_POINTS: Final = 400


@dataclass(frozen=True, slots=True)
class Scale:
    """What each exit of a matrix is worth, over all its texts.

    The loss of exit j is gamma_j + C_j; with labels gamma is the error, without it is minus the
    disagreement with exit 0, which under Strong Dominance differs by a constant.
    """

    labels: NDArray[np.int8]  # (rows, exits)
    truth: NDArray[np.int8] | None  # (rows,)
    costs: tuple[float, ...]
    layers: tuple[int, ...]
    change: int | None = None  # the row from which on the domain is another one
    credits: NDArray[np.integer] | None = None  # (rows, exits): in thousandths

    def __post_init__(self) -> None:
        """Refuse layers and costs for other exits."""
        exits = self.labels.shape[1]
        if not exits == len(self.costs) == len(self.layers):
            raise InvalidInput(
                f"{counted(len(self.layers), 'layer')} and "
                f"{counted(len(self.costs), 'cost')} for a matrix of "
                f"{counted(exits, 'exit')}"
            )

    @property
    def losses(self) -> NDArray[np.float64]:
        """The loss of every exit over all rows, (exits,)."""
        losses: NDArray[np.float64] = self._row_losses().mean(axis=0)
        return losses

    def row_gaps(self) -> NDArray[np.float64]:
        """Return how much worse every exit is than the best fixed one, for each row's domain."""
        losses = self._row_losses()
        gaps = np.empty(losses.shape)
        for part in (slice(0, self.change), slice(self.change, None))[: 1 + bool(self.change)]:
            means = losses[part].mean(axis=0)
            gaps[part] = means - means.min()
        return gaps

    def _row_losses(self) -> NDArray[np.float64]:
        costs = np.array(self.costs)
        if self.truth is None:
            losses: NDArray[np.float64] = costs - (self.labels != self.labels[:, :1])
        else:
            losses = costs + (self.labels != self.truth[:, None])
        return losses


@dataclass(frozen=True, slots=True)
class Regret:
    """Regret up to some text: mean over trials, their spread, the 95 % interval of the mean."""

    mean: float
    sd: float
    low: float
    high: float

    @classmethod
    def of(cls, trials: NDArray[np.float64]) -> Regret:
        """Return it of the regret of each trial, (trials,)."""
        mean = float(trials.mean())
        sd = float(trials.std(ddof=1)) if len(trials) > 1 else 0.0
        half = Z_95 * sd / math.sqrt(len(trials))
        return cls(mean, sd, mean - half, mean + half)


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """What one algorithm did in all trials."""

    accuracy: float | None
    cost: float  # mean per text
    layers: float  # mean per text
    regret: dict[str, Regret]  # by number of texts, and `end`
    counts: tuple[tuple[int, ...], ...]  # (trials, exits): plays
    resets: tuple[int, ...]  # (trials,): how often it started afresh
    curve: tuple[tuple[int, float, float, float], ...]  # texts, mean regret, low, high

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values, without the curve."""
        return {
            "accuracy": self.accuracy,
            "cost": self.cost,
            "layers": self.layers,
            "regret": {
                at: {"mean": r.mean, "sd": r.sd, "low": r.low, "high": r.high}
                for at, r in self.regret.items()
            },
            "counts": [list(trial) for trial in self.counts],
            "resets": list(self.resets),
        }


def outcome(replay: Replay, scale: Scale) -> ReplayResult:
    """Return what the plays of a replay come to on its matrix."""
    plays = replay.exits.astype(np.intp)
    exits, texts = len(scale.costs), plays.shape[1]
    counts = replay.counts(exits)
    accuracy = None
    if scale.truth is not None:
        right = scale.labels[replay.orders, plays] == scale.truth[replay.orders]
        accuracy = float(right.mean())
    regret = scale.row_gaps()[replay.orders, plays].cumsum(axis=1)
    at = [texts_ for texts_ in HORIZONS if texts_ <= texts]
    points = np.unique(np.geomspace(1, texts, _CURVE_POINTS).astype(np.intp))
    curve = [(int(n), Regret.of(regret[:, n - 1])) for n in points]
    return ReplayResult(
        accuracy=accuracy,
        cost=float((counts @ np.array(scale.costs)).mean() / texts),
        layers=float((counts @ np.array(scale.layers)).mean() / texts),
        regret={
            **{str(n): Regret.of(regret[:, n - 1]) for n in at},
            "end": Regret.of(regret[:, -1]),
        },
        counts=tuple(map(tuple, counts.tolist())),
        resets=tuple(map(len, replay.resets)),
        curve=tuple((n, r.mean, r.low, r.high) for n, r in curve),
    )


def baselines(scale: Scale, orders: NDArray[np.intp]) -> dict[str, NDArray[np.int8]]:
    """Return the plays of choices that learn nothing: oracle, last, random, and every fixed exit.

    `oracle` is the best fixed exit; `random` draws an exit for every text.
    """
    exits = len(scale.costs)
    trials, texts = orders.shape
    drawn = [np.random.RandomState(trial).randint(exits, size=texts) for trial in range(trials)]
    fixed = {f"exit {j}": np.full(orders.shape, j, dtype=np.int8) for j in range(exits)}
    return {
        "oracle": fixed[f"exit {int(scale.losses.argmin())}"],
        "last": fixed[f"exit {exits - 1}"],
        "random": np.stack(drawn).astype(np.int8),
        **fixed,
    }
