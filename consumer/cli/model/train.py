"""`offramp train` and `offramp pretrain`: models from texts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from consumer.cli.commands import without_effect
from consumer.cli.model.options import Run, Start
from consumer.cli.model.progress import Stages, exit_rows, progress_bars
from consumer.cli.options import FILES, MOST_ROWS, LabelledFiles, Out, TextFiles
from consumer.cli.output import Output, OutputOption, print_data
from model.training.settings import Loss
from policy_state.options import parse_numbers

TRAIN_EXAMPLES = """Examples:

`offramp train sst2/train.tsv.zst --from fnlp/elasticbert-base --allow-bin --exits 1,3,7,12 --eval sst2/dev.tsv --out model`

`offramp train agnews/train.tsv.zst --from ./bert --exits 1,3,5,7,9,12 --labels world,sports,business,technology --out news`

`offramp train reviews.csv --text-column review --label-column sentiment --new mini --out reviews`

`offramp train sst2/train.tsv.zst --new mini --teacher model --unlabelled reviews.txt.zst=200000 --out small`

`offramp train sst2/train.tsv.zst --from ./bert --exits 1,3,7,12 --out model --resume`
"""  # noqa: E501  (a command on one line can be copied)
PRETRAIN_EXAMPLES = """Examples:

`offramp pretrain reviews.txt.zst --new small --out encoder`

`offramp pretrain reviews.txt --from ./bert --exits 4,8,12 --out encoder`
"""


def train(
    ctx: typer.Context,
    data: Annotated[Path, typer.Argument(help=f"Texts with labels: {FILES}")],
    out: Out,
    start: Start,
    read: LabelledFiles,
    training: Run,
    exits: Annotated[
        str | None,
        typer.Option("--exits", metavar="LAYERS", help="Layers that get an exit, e.g. 1,3,7,12."),
    ] = None,
    evaluate: Annotated[
        list[Path] | None,
        typer.Option(
            "--eval",
            metavar="FILE",
            help="File to measure on, the first one also during training.",
        ),
    ] = None,
    hold_out: Annotated[
        float,
        typer.Option(
            min=0,
            max=0.9,
            help="Share of the texts to measure on if --eval is not given.",
        ),
    ] = 0.1,
    calibrate: Annotated[
        Path | None,
        typer.Option(
            "--calibrate",
            metavar="FILE",
            help="Labelled texts to calibrate on; default: hold some out if there are 2,000.",
        ),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            "--labels",
            metavar="NAMES",
            help="Names of the classes, in order; default: sorted.",
        ),
    ] = None,
    body_rate: Annotated[
        float,
        typer.Option(min=0, max=1, help="Peak learning rate of the encoder."),
    ] = 2e-4,
    head_rate: Annotated[
        float,
        typer.Option(min=0, max=1, help="Peak learning rate of the poolers and classifiers."),
    ] = 5e-4,
    weight_decay: Annotated[
        float, typer.Option(min=0.0, max=1000, help="Weight decay of AdamW.")
    ] = 0.01,
    loss: Annotated[
        Loss,
        typer.Option(
            "--loss",
            metavar="LOSS",
            help="How to combine the losses of the exits: sum, weighted, distilled, or "
            "equilibrium as the authors of ElasticBERT do.",
        ),
    ] = Loss.SUM,
    class_weights: Annotated[
        bool, typer.Option("--class-weights", help="Give every class the same weight.")
    ] = False,
    eval_max_tokens: Annotated[
        int | None,
        typer.Option(
            min=3, max=1_000_000, help="--max-tokens for --eval; default: as in training."
        ),
    ] = None,
    eval_every: Annotated[
        int,
        typer.Option(min=1, max=MOST_ROWS, help="Steps between two evaluations and checkpoints."),
    ] = 500,
    patience: Annotated[
        int | None,
        typer.Option(
            min=1, max=MOST_ROWS, help="Stop after this many evaluations without improvement."
        ),
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option(metavar="FOLDER", help="Model whose answers are learnt too."),
    ] = None,
    teacher_exits: Annotated[
        str | None,
        typer.Option(
            metavar="EXITS",
            help="Learn from the mean of these exits, e.g. 3,4,5; default: the last.",
        ),
    ] = None,
    unlabelled: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE[=N]", help="Texts for the teacher to label, at most N sentences."
        ),
    ] = None,
    new_heads: Annotated[
        bool, typer.Option("--new-heads", help="Start with new poolers and classifiers.")
    ] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Train a classifier with several exits; write a model folder."""
    exit_layers = exits and parse_numbers(exits, "--exits", int)
    taught_by = teacher_exits and parse_numbers(teacher_exits, "--teacher-exits", int)
    weights = start.weights(ctx)
    if start.new is not None:
        without_effect(ctx, {"new_heads"}, "with --new: the whole model is new")
    if teacher is None:
        without_effect(ctx, {"teacher_exits"}, "without --teacher")
    if evaluate:
        without_effect(ctx, {"hold_out"}, "with --eval")
    from dataclasses import asdict

    from model.training.data import read_inputs
    from model.training.settings import Request, Unlabelled

    request = Request(
        data=data,
        out=out,
        start=weights,
        exit_layers=exit_layers or None,
        labels=None if labels is None else tuple(name.strip() for name in labels.split(",")),
        layout=read.layout,
        evaluate_on=tuple(evaluate or ()),
        hold_out=hold_out,
        calibrate_on=calibrate,
        loss=loss,
        class_weights=class_weights,
        max_tokens=training.max_tokens,
        eval_max_tokens=eval_max_tokens,
        teacher=teacher,
        teacher_exits=taught_by or None,
        unlabelled=tuple(Unlabelled.parse(text) for text in unlabelled or ()),
        new_heads=new_heads,
        allow_pickle=training.allow_bin,
        settings=training.settings(
            body_rate=body_rate,
            head_rate=head_rate,
            weight_decay=weight_decay,
            evaluate_every=eval_every,
            patience=patience,
        ),
    )
    inputs = read_inputs(request, resume=training.resume)
    from model.training.train import Listener  # with torch, which takes seconds
    from model.training.train import train as run

    with progress_bars() as bars:
        stages = Stages(bars)
        outcome = run(
            request,
            inputs,
            command=["offramp", *sys.argv[1:]],
            resume=training.resume,
            listener=Listener(stages.begin, stages.advance, stages.step),
        )
    for name, report in outcome.reports.items():
        if report.constant_exits and report.texts > 1:
            constant = ", ".join(map(str, report.constant_exits))
            typer.echo(
                f"warning: on {name} every text gets the same label from "
                f"{'exits' if len(report.constant_exits) > 1 else 'exit'} {constant}: "
                "train longer or with a higher --body-rate",
                err=True,
            )
    if outcome.calibration is None:
        typer.echo(
            f"{out} has no calibration: {data} has too few texts to hold some out. Without one, "
            "learning counts every change of a label as a gain, and may go deeper than it pays. "
            f"To add one: offramp model calibrate {out} FILE, with texts that training has not "
            "seen",
            err=True,
        )
    made = {
        "out": str(out),
        "exit_layers": outcome.config.exit_layers,
        "steps": outcome.steps,
        "training_s": round(outcome.training_s, 1),
        "calibration": outcome.calibration and asdict(outcome.calibration),
        "reports": {name: report.to_dict() for name, report in outcome.reports.items()},
    }
    rows = exit_rows(outcome.reports, outcome.config.exit_layers)
    untold = f"{out}: trained but not measured: there is no --eval file and no text was held out"
    print_data(output, made, rows, empty=untold)


def pretrain(
    ctx: typer.Context,
    texts: Annotated[Path, typer.Argument(help=f"Texts: {FILES}")],
    out: Out,
    start: Start,
    read: TextFiles,
    training: Run,
    exits: Annotated[
        str | None,
        typer.Option(
            "--exits", metavar="LAYERS", help="Predict words after these layers; default: the last."
        ),
    ] = None,
    rate: Annotated[float, typer.Option(min=0, max=1, help="Peak learning rate.")] = 5e-4,
    eval_every: Annotated[
        int,
        typer.Option(
            "--checkpoint-every", min=1, max=MOST_ROWS, help="Steps between two checkpoints."
        ),
    ] = 500,
    output: OutputOption = Output.TABLE,
) -> None:
    """Pre-train an encoder on texts without labels, for `train --from`."""
    exit_layers = exits and parse_numbers(exits, "--exits", int)
    weights = start.weights(ctx)
    from dataclasses import asdict

    from model.training.data import read_pretraining
    from model.training.settings import PretrainRequest

    request = PretrainRequest(
        texts=texts,
        out=out,
        layout=read.layout,
        start=weights,
        exit_layers=exit_layers or None,
        max_tokens=training.max_tokens,
        allow_pickle=training.allow_bin,
        settings=training.settings(body_rate=rate, head_rate=rate, evaluate_every=eval_every),
    )
    read_in = read_pretraining(request, resume=training.resume)
    from model.training.pretrain import run_pretraining  # with torch, which takes seconds

    with progress_bars() as bars:
        stages = Stages(bars)
        result = run_pretraining(request, read_in, resume=training.resume, on_progress=stages.step)
    row = {"out": str(out), **asdict(result)}
    print_data(output, row, [row])
