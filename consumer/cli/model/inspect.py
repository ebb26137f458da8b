"""`offramp model`: look at a model folder, and run it on files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from consumer.cli.commands import Commands, without_effect
from consumer.cli.model.progress import exit_rows, progress_bars
from consumer.cli.options import (
    FILES,
    AllowBin,
    Device,
    DeviceOption,
    Folder,
    LabelledFiles,
    MaxTokens,
    Model,
    Precision,
    engine_for,
)
from consumer.cli.output import Output, OutputOption, print_data, print_table
from policy_state.wording import counted

if TYPE_CHECKING:
    from rich.progress import Progress

    from model.engine.engine import Engine
    from model.evaluation import ExitScores
    from model.texts.rows import Layout

app = Commands()

CHECK_EXAMPLES = """Examples:

`offramp model check ./model`

`offramp model check ./model -o json`
"""
PREDICT_EXAMPLES = """Examples:

`offramp model predict imdb/test.tsv.zst --model ./model --out imdb.tsv`

`offramp model predict */test.tsv --model ./model --out matrices -o json`

`offramp model predict texts.txt --model ./model > matrix.tsv`
"""
_CHUNK = 512  # texts handed to the engine at once


@app.command("check", epilog=CHECK_EXAMPLES)
def check(folder: Folder, allow_bin: AllowBin = False, output: OutputOption = Output.TABLE) -> None:
    """Check a model folder: config, weights, tokenizer and one forward pass.

    The exit code is 1 if a check fails.
    """
    from dataclasses import asdict

    from model.checkpoint.check import check_folder

    findings = check_folder(folder, allow_pickle=allow_bin)
    rows = [asdict(finding) for finding in findings]
    print_data(output, rows, [{**row, "ok": "ok" if row["ok"] else "FAILED"} for row in rows])
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)


@app.command("predict", epilog=PREDICT_EXAMPLES)
def predict(
    ctx: typer.Context,
    files: Annotated[list[Path], typer.Argument(help=f"Texts, with labels or without: {FILES}")],
    model: Model,
    read: LabelledFiles,
    out: Annotated[
        Path | None,
        typer.Option(help="File to write, or a folder for several files; default: stdout."),
    ] = None,
    device: DeviceOption = Device.AUTO,
    precision: Annotated[
        Precision,
        typer.Option("--precision", metavar="PRECISION", help="fp32, bf16, int8 or auto."),
    ] = Precision.FP32,
    max_tokens: MaxTokens = None,
    no_labels: Annotated[
        bool, typer.Option("--no-labels", help="Ignore the labels, e.g. those of another model.")
    ] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Write the label of every exit for every text, for `lab replay`.

    A label of a file is the name of a class, or its number unless classes are named by numbers.
    """
    if out is None:
        without_effect(ctx, {"output"}, "without --out: the matrix goes to stdout")
    targets = _targets(files, out)
    layout = read.layout.unlabelled if no_labels else read.layout
    engine = engine_for(model, device, precision, max_tokens)
    with progress_bars() as bars:
        predicted = [
            _predict_file(engine, path, layout, target, bars)
            for path, target in zip(files, targets, strict=True)
        ]
    if out is None:
        return
    data = [row | {"report": report and report.to_dict()} for row, report in predicted]
    print_data(output, data, [row for row, _ in predicted])
    if output is Output.TABLE:
        reports = {str(row["texts of"]): report for row, report in predicted if report is not None}
        rows = exit_rows(reports, engine.config.exit_layers)
        print_table(rows, empty="there are no labels, so nothing was measured")


def _targets(files: list[Path], out: Path | None) -> list[Path | None]:
    """Return where the matrix of each file goes; None is stdout."""
    from model.errors import InvalidOptions
    from model.texts.data import set_name

    if len(files) == 1:
        return [out]
    if out is None:
        raise InvalidOptions(
            f"{len(files)} files need a folder for their matrices; name it with --out"
        )
    names = [set_name(path).replace("/", "-") for path in files]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InvalidOptions(
            f"{twice[0]}: two files have this name; run the command once for each file"
        )
    return [out / f"{name}.tsv" for name in names]


def _predict_file(
    engine: Engine, path: Path, layout: Layout, target: Path | None, bars: Progress
) -> tuple[dict[str, object], ExitScores | None]:
    """Return a table row for one file, and its scores; `cut` counts texts that were too long."""
    import numpy as np

    from model.evaluation import report
    from model.labels import Classes
    from model.texts.data import read_known, set_name, write_matrix

    texts, truth = read_known(path, Classes(engine.config.labels), layout)
    name = set_name(path)
    task = bars.add_task(name, total=len(texts))
    last = engine.config.exits - 1
    parts = [texts[i : i + _CHUNK] for i in range(0, len(texts), _CHUNK)]
    rows: list[tuple[int, ...]] = []
    cut = 0
    for results in engine.run_stream((part, [last] * len(part)) for part in parts):
        rows += [result.labels for result in results]
        cut += sum(result.truncated for result in results)
        bars.advance(task, len(results))
    if cut:
        typer.echo(
            f"{path}: {cut} of {counted(len(texts), 'text')} cut to {engine.max_tokens} tokens",
            err=True,
        )
    if target is None:
        write_matrix(sys.stdout, rows, truth)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("w", encoding="utf-8") as file:
            write_matrix(file, rows, truth)
    measured = None if truth is None else report(np.array(rows), truth)
    row = {"texts of": name, "texts": len(texts), "cut": cut, "matrix": str(target)}
    return row, measured
