"""The picture of the policy benchmark: regret over time on the published matrices."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from policy_state.simulation.outcomes import ReplayResult
from policy_state.simulation.plots import regret_curves


def plot_curves(cases: Mapping[str, Mapping[str, ReplayResult]], path: Path) -> None:
    """Write a panel for every case, with a curve for every algorithm, as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4 * len(cases), 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(cases), squeeze=False, sharey=True)[0]
    for axes, (name, outcomes) in zip(panels, cases.items(), strict=True):
        regret_curves(axes, outcomes)
        axes.set_title(name)
    figure.savefig(path, dpi=110)
