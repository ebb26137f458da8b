"""What a training writes besides the weights: the model card and the learning curves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from model.calibration import Calibration
    from model.config import ModelConfig
    from model.evaluation import ExitScores
    from model.labels import Classes

_CAVEAT = (
    "Measured with the saved weights on the files named, and only on them: texts of another kind "
    "can do better or worse."
)
_HELD_OUT = (
    "- Not trained on but measured on: {:,} further texts of the file, held out by chance "
    "(seed {}) from every class alike"
)
_UNCALIBRATED = (
    "None: the file of the training has too few texts to hold some out. `offramp model calibrate` "
    "makes a calibration from other labelled texts."
)
_UNMEASURED = "Not measured: no `--eval` file, and no texts held out."


@dataclass(frozen=True, slots=True)
class Facts:
    """What a card tells beside the model's config."""

    name: str
    command: str
    start: str  # what the weights started from
    data: Sequence[str]  # one line per source of training texts
    held_out: int  # texts of the training's file that were kept to measure on
    calibration: Calibration | None
    calibrated_on: str | None  # None: on a part of the training's file
    classes: Classes
    settings: Mapping[str, object]
    reports: Mapping[str, ExitScores]
    parameters: int
    training_s: float


def model_card(facts: Facts, config: ModelConfig) -> str:
    """Return the card as Markdown."""
    exits = ", ".join(f"{i} (layer {layer})" for i, layer in enumerate(config.exit_layers))
    lines = [
        "---",
        "pipeline_tag: text-classification",
        "tags: [early-exit, elasticbert]",
        "---",
        "",
        f"# {facts.name}",
        "",
        _shape(config, facts.parameters),
        "",
        f"- Classes, {facts.classes.order}: {facts.classes}",
        f"- Exits: {exits}",
        f"- Started from: {facts.start}",
        *(f"- Trained on: {source}" for source in facts.data),
        *([_HELD_OUT.format(facts.held_out, facts.settings["seed"])] if facts.held_out else []),
        f"- Trained in {facts.training_s / 60:.1f} minutes",
        "",
        "## Command",
        "",
        "```sh",
        facts.command,
        "```",
        "",
        "## Settings",
        "",
        "| setting | value |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in facts.settings.items()),
        "",
        "## What the exits are worth",
        "",
        *(report_table(facts.reports) if facts.reports else [_UNMEASURED]),
        "",
        _CAVEAT,
        "",
        "## Calibration",
        "",
        *_calibration_lines(facts),
        "",
        "![learning curves](curves.png)",
    ]
    return "\n".join(lines) + "\n"


def _shape(config: ModelConfig, parameters: int) -> str:
    return (
        f"A multi-exit BERT in the layout of ElasticBERT: {config.num_hidden_layers} layers, "
        f"hidden size {config.hidden_size}, {parameters / 1e6:.1f} million parameters, "
        f"at most {config.max_position_embeddings} tokens."
    )


def report_table(reports: Mapping[str, ExitScores]) -> list[str]:
    """Return a Markdown table, one row per set of texts and figure, one column per exit."""
    exits = range(len(next(iter(reports.values())).accuracy))
    lines = [
        "| texts | figure | " + " | ".join(f"exit {i}" for i in exits) + " |",
        "|---|---|" + "---:|" * len(exits),
    ]
    for name, measured in reports.items():
        for figure, values in (
            ("accuracy %", measured.accuracy),
            ("balanced accuracy %", measured.balanced_accuracy),
            ("differs from exit 0 %", measured.disagreement),
        ):
            cells = " | ".join(f"{100 * value:.1f}" for value in values)
            lines.append(f"| {name} ({measured.texts:,}) | {figure} | {cells} |")
        violations = f"{100 * measured.sd_violations:.1f}"
        rest = " | " * (len(exits) - 1)
        lines.append(f"| {name} ({measured.texts:,}) | SD violated % | {violations}{rest} |")
    return lines


def _calibration_lines(facts: Facts) -> list[str]:
    """Return what the calibration was made from, and a table with one column per exit."""
    found = facts.calibration
    if found is None:
        return [_UNCALIBRATED]
    source = facts.calibrated_on or "the file of the training, held out from it"
    rows = {
        "temperature": [f"{value:g}" for value in found.temperatures],
        "calibration error (ECE) before": [f"{value:.4f}" for value in found.ece_before],
        "calibration error (ECE) after": [f"{value:.4f}" for value in found.ece_after],
        "worth of the step from the exit before": ["", *(f"{value:g}" for value in found.worth)],
        "duels of this step": ["", *(f"{count:,}" for count in found.duels)],
    }
    exits = range(len(found.temperatures))
    said = (
        f"Made from {found.texts:,} texts of {source}. A duel is a text on which the two exits of "
        "a step differ. Both errors are those on these texts."
    )
    return [
        said,
        "",
        "| figure | " + " | ".join(f"exit {i}" for i in exits) + " |",
        "|---|" + "---:|" * len(exits),
        *(f"| {name} | " + " | ".join(cells) + " |" for name, cells in rows.items()),
    ]


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
