"""Learning curves of a training as a PNG."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.figure import Figure

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def plot_curves(history: Sequence[dict[str, float]], path: Path) -> None:
    """Draw the loss and, where it was measured, each exit's accuracy over the steps."""
    accuracies = sorted({k for entry in history for k in entry if k.startswith("eval_accuracy_")})
    panels = 2 if accuracies else 1
    figure = Figure(figsize=(5 * panels, 3.5), layout="constrained")
    axes = figure.subplots(1, panels, squeeze=False)[0]
    axes[0].plot(*_series(history, "loss"), label="loss")
    axes[0].set(xlabel="step", ylabel="loss, all exits", title="Training loss")
    if accuracies:
        for name in accuracies:
            exit_ = name.rpartition("_")[2]
            axes[1].plot(*_series(history, name), marker="o", markersize=3, label=f"exit {exit_}")
        axes[1].set(xlabel="step", ylabel="accuracy", title="First evaluation file")
        axes[1].legend(fontsize="small")
    for ax in axes:
        ax.grid(alpha=0.3)
    figure.savefig(path, dpi=120)


def _series(history: Sequence[dict[str, float]], name: str) -> tuple[list[float], list[float]]:
    points = [(entry["step"], entry[name]) for entry in history if name in entry]
    return [step for step, _ in points], [value for _, value in points]
