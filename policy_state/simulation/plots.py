"""Pictures of replays: regret over time, and which exits were played."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from policy_state.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from matplotlib.axes import Axes

    from policy_state.simulation.outcomes import ReplayResult

_LOWEST_SHOWN: Final = 0.1
_ENDINGS: Final = (".png", ".svg", ".pdf")


def check_plot_path(path: Path) -> None:
    """Raise `InvalidInput` where no picture can be written, before there is one."""
    if path.suffix.lower() not in _ENDINGS:
        raise InvalidInput(f"plot {path}: expected a name that ends in {', '.join(_ENDINGS)}")
    if not path.parent.is_dir():
        raise InvalidInput(f"plot {path}: folder {path.parent} does not exist")


def plot_replay(outcomes: Mapping[str, ReplayResult], path: Path, *, title: str) -> None:
    """Write regret curves with intervals, and exit shares, as PNG, SVG or PDF by the ending.

    Raises:
        InvalidInput: the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    curves, shares = figure.subplots(1, 2)
    regret_curves(curves, outcomes)
    _arm_shares(shares, outcomes)
    figure.suptitle(title)
    try:
        figure.savefig(path, dpi=150)
    except OSError as error:
        raise InvalidInput(f"plot {path}: cannot be written: {error}") from error


def regret_curves(axes: Axes, outcomes: Mapping[str, ReplayResult]) -> None:
    """Draw the mean regret of each algorithm over the texts, with its interval."""
    for name, outcome in outcomes.items():
        texts, mean, low, high = np.array(outcome.curve).T
        (line,) = axes.plot(texts, np.maximum(mean, _LOWEST_SHOWN), label=name)
        axes.fill_between(
            texts,
            np.maximum(low, _LOWEST_SHOWN),
            np.maximum(high, _LOWEST_SHOWN),
            color=line.get_color(),
            alpha=0.2,
            linewidth=0,
        )
    axes.set(xscale="log", yscale="log", xlabel="texts", ylabel="regret, mean and 95 % interval")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)


def _arm_shares(axes: Axes, outcomes: Mapping[str, ReplayResult]) -> None:
    names = list(outcomes)
    plays = np.array([np.sum(outcome.counts, axis=0) for outcome in outcomes.values()])
    shares = plays / plays.sum(axis=1, keepdims=True)
    left = np.zeros(len(names))
    for exit_, share in enumerate(shares.T):
        axes.barh(names, share, left=left, label=f"exit {exit_}")
        left += share
    axes.invert_yaxis()
    axes.set(xlabel="share of texts", xlim=(0, 1))
    axes.legend(fontsize=8, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))
