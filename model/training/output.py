"""What a training writes besides the weights: the model card and the learning curves."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from model.texts.data import set_name
from model.training.data import held_name, plain
from model.training.trainer import in_bf16
from model.wording import counted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from model.calibration import Calibration
    from model.config import ModelConfig
    from model.evaluation import ExitScores
    from model.training.data import Inputs
    from model.training.settings import Request
    from model.training.train import Trained

_CAVEAT = (
    "These figures were measured with the saved weights, on these texts only. Texts of another "
    "kind can give better or worse figures."
)
_HELD_OUT = (
    "- Measured on, but not trained on: {} of the file, chosen at random from every class (seed {})"
)
_UNCALIBRATED = (
    "None: the file of the training has too few texts to hold some out. `offramp model calibrate` "
    "makes a calibration from other labelled texts."
)
_UNMEASURED = "Not measured: there is no `--eval` file, and no text was held out."


def model_card(
    request: Request, inputs: Inputs, outcome: Trained, *, command: Sequence[str], parameters: int
) -> str:
    """Return the card as Markdown; `command` has the words of the command line."""
    config, classes, reports = outcome.config, outcome.classes, outcome.reports
    exits = ", ".join(f"{i} (layer {layer})" for i, layer in enumerate(config.exit_layers))
    labelled = f"{counted(len(inputs.labelled.texts), 'labelled text')} of {set_name(request.data)}"
    sources = [f"- Trained on: {labelled}"]
    if inputs.sentences:
        taught = counted(len(inputs.sentences), "sentence")
        names = ", ".join(set_name(file.path) for file in request.unlabelled)
        sources.append(f"- Trained on: {taught} of {names}, labelled by the teacher")
    if held := reports.get(held_name(request.data)):
        others = counted(held.texts, "other text")
        sources.append(_HELD_OUT.format(others, request.settings.seed))
    settings = plain(request)["settings"] | {
        "bf16": in_bf16(request.settings),
        "loss": request.loss.value,
        "class_weights": request.class_weights,
        "max_tokens": request.max_tokens,
        "eval_max_tokens": request.eval_max_tokens or request.max_tokens,
        "steps": outcome.steps,
    }
    lines = [
        "---",
        "pipeline_tag: text-classification",
        "tags: [early-exit, elasticbert]",
        "---",
        "",
        f"# {request.out.name}",
        "",
        _shape(config, parameters),
        "",
        f"- Classes, {classes.order}: {classes}",
        f"- Exits: {exits}",
        f"- Started from: {request.start if isinstance(request.start, str) else 'random weights'}",
        *sources,
        f"- Trained in {outcome.training_s / 60:.1f} minutes",
        "",
        "## Command",
        "",
        "```sh",
        shlex.join(command),
        "```",
        "",
        "## Settings",
        "",
        "| setting | value |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in settings.items()),
        "",
        "## What the exits are worth",
        "",
        *(report_table(reports) if reports else [_UNMEASURED]),
        "",
        _CAVEAT,
        "",
        "## Calibration",
        "",
        *_calibration_lines(outcome.calibration, request.calibrate_on),
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


def _calibration_lines(found: Calibration | None, texts: Path | None) -> list[str]:
    """Return what the calibration was made from, and a table with one column per exit."""
    if found is None:
        return [_UNCALIBRATED]
    source = set_name(texts) if texts else "the file of the training, held out from it"
    rows = {
        "temperature": [f"{value:g}" for value in found.temperatures],
        "calibration error (ECE) before": [f"{value:.4f}" for value in found.ece_before],
        "calibration error (ECE) after": [f"{value:.4f}" for value in found.ece_after],
        "worth of the step from the exit before": ["", *(f"{value:g}" for value in found.worth)],
        "duels of this step": ["", *(f"{count:,}" for count in found.duels)],
    }
    exits = range(len(found.temperatures))
    said = (
        f"Made from {counted(found.texts, 'text')} of {source}. A duel is a text on which "
        "the two exits of a step differ. Both errors are those on these texts."
    )
    return [
        said,
        "",
        "| figure | " + " | ".join(f"exit {i}" for i in exits) + " |",
        "|---|" + "---:|" * len(exits),
        *(f"| {name} | " + " | ".join(cells) + " |" for name, cells in rows.items()),
    ]


def plot_curves(history: Sequence[dict[str, float]], path: Path) -> None:
    """Draw the loss and, if it was measured, each exit's accuracy over the steps."""
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
