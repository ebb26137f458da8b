"""What a training shows: bars or lines on stderr while it runs, a table of its exits at the end."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import typer

from policy_state.wording import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.progress import Progress as Bars
    from rich.progress import TaskID

    from model.calibration import Calibration
    from model.evaluation import ExitScores
    from model.training.settings import Progress


def exit_rows(
    reports: dict[str, ExitScores], exit_layers: tuple[int, ...]
) -> list[dict[str, object]]:
    """Return table rows, one per set of texts and exit."""
    return [
        {
            "texts of": name,
            "texts": report.texts,
            "exit": exit_,
            "layer": layer,
            "accuracy": report.accuracy[exit_],
            "balanced": report.balanced_accuracy[exit_],
            "differs from 0": report.disagreement[exit_],
            "SD violated": report.sd_violations if exit_ == len(exit_layers) - 1 else None,
        }
        for name, report in reports.items()
        for exit_, layer in enumerate(exit_layers)
    ]


def calibration_rows(found: Calibration, exit_layers: tuple[int, ...]) -> list[dict[str, object]]:
    """Return table rows, one per exit; a step belongs to the exit where it ends."""
    columns = {
        "exit": range(len(exit_layers)),
        "layer": exit_layers,
        "temperature": found.temperatures,
        "ECE before": found.ece_before,
        "ECE after": found.ece_after,
        "worth of the step": (None, *found.worth),
        "duels": (None, *found.duels),
    }
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


@contextlib.contextmanager
def progress_bars() -> Iterator[Bars]:
    """Show progress on stderr, if it is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        Remaining(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        yield bars


class Stages:
    """One bar for each stage of a training; a line now and then if stderr is not a terminal."""

    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._advance: Callable[[int], None] = lambda _: None
        self._training: TaskID | None = None

    def begin(self, name: str, total: int) -> None:
        """Start the bar of a stage with this number of texts."""
        if self._bars.disable:
            typer.echo(f"{name}: {counted(total, 'text')}", err=True)
        task = self._bars.add_task(name, total=total)
        self._advance = lambda count: self._bars.advance(task, count)

    def advance(self, count: int) -> None:
        """Note that this number of texts of the stage is done."""
        self._advance(count)

    def step(self, progress: Progress) -> None:
        """Show what the trainer logged."""
        values = progress.values
        shown = " ".join(
            f"{name.removeprefix('eval_')} {values[name]:.3f}"
            for name in sorted(values)
            if name == "loss" or name.startswith("eval_")
        )
        if self._bars.disable:
            if shown:
                typer.echo(f"step {progress.step}/{progress.steps}: {shown}", err=True)
            return
        if self._training is None:
            self._training = self._bars.add_task("training", total=progress.steps)
        description = f"training, {shown}" if "loss" in values else None
        self._bars.update(self._training, completed=progress.step, description=description)
