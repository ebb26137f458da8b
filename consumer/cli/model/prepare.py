"""`offramp model calibrate`, `int8` and `costs`: model folders made ready for use."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from consumer.cli.commands import Commands
from consumer.cli.model.progress import calibration_rows, progress_bars
from consumer.cli.model.rewrite import MEASURED
from consumer.cli.options import (
    FILES,
    Device,
    DeviceOption,
    Folder,
    LabelledFiles,
    MaxTokens,
    Precision,
    TextFiles,
    engine_for,
)
from consumer.cli.output import Output, OutputOption, print_data
from policy_state.wording import counted

CALIBRATE_EXAMPLES = """Examples:

`offramp model calibrate ./model sst2/dev.tsv`

`offramp model calibrate ./model reviews.csv --text-column review --label-column sentiment`
"""
INT8_EXAMPLES = """Examples:

`offramp model int8 ./model reviews.txt`
"""
COSTS_EXAMPLES = """Examples:

`offramp model costs ./model reviews.txt --precision bf16`
"""
_COST_TEXTS = 64  # each runs to every exit several times

Texts = Annotated[
    int,
    typer.Option(min=1, max=10_000_000, help="Use at most this many random texts of each file."),
]
TextsLikeThose = Annotated[
    list[Path], typer.Argument(help=f"Texts like those in the stream: {FILES}")
]

app = Commands()


@app.command("calibrate", epilog=CALIBRATE_EXAMPLES)
def calibrate(
    folder: Folder,
    files: Annotated[
        list[Path],
        typer.Argument(help=f"Labelled texts that training has not seen: {FILES}"),
    ],
    read: LabelledFiles,
    texts: Texts = 10_000,
    device: DeviceOption = Device.AUTO,
    max_tokens: MaxTokens = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Measure how far each exit can be trusted, so that learning knows what depth gains.

    Writes `calibration.json` into the model folder. The fingerprint of the model changes with it,
    so counters start anew: a policy that was learnt before belongs to the model without it.
    """
    from dataclasses import asdict

    from model.config import read_config
    from model.labels import Classes
    from model.texts.data import read_labelled

    _check_writable(folder)
    config = read_config(folder)
    classes = Classes(config.labels)
    sets = [
        read_labelled(path, classes=classes, layout=read.layout).sample(texts, seed=0)
        for path in files
    ]
    truth = [label for each in sets for label in each.labels]
    from model.batches import encode, predict_logits
    from model.calibration import fit, write_calibration
    from model.checkpoint.folder import fingerprint, fitting_tokenizer, load_model
    from model.engine.kernels import chosen_device

    network = load_model(folder).to(chosen_device(device.value))
    limit = min(max_tokens or config.max_position_embeddings, config.max_position_embeddings)
    ids = encode(fitting_tokenizer(folder, config), [t for e in sets for t in e.texts], limit)
    with progress_bars() as bars:
        task = bars.add_task("calibrating", total=len(ids))
        logits = predict_logits(network, ids, done=lambda count: bars.advance(task, count))
    found = fit(logits.numpy(), truth)
    write_calibration(folder, found)
    made = fingerprint(folder)
    rows = calibration_rows(found, config.exit_layers)
    print_data(output, {"fingerprint": made, **asdict(found)}, rows)
    typer.echo(f"{folder} has the fingerprint {made} now; counters start anew with it", err=True)
    for name, command in MEASURED.items():
        if (folder / name).exists():
            again = f"{command} {folder} FILE"
            typer.echo(f"{name} belongs to the former fingerprint; make it anew: {again}", err=True)


@app.command("int8", epilog=INT8_EXAMPLES)
def int8(
    folder: Folder,
    files: TextsLikeThose,
    read: TextFiles,
    texts: Texts = 1200,
    max_tokens: MaxTokens = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Prepare a model folder for the precision int8.

    Writes `int8.safetensors`, which the precision int8 needs. Half of the texts set its ranges; the
    other half measures how often its labels agree with fp32.
    """
    from dataclasses import asdict

    from model.config import read_config
    from model.engine.calibrate import calibrate_int8

    _check_writable(folder)
    agreement = calibrate_int8(folder, _sampled(files, read, texts), max_tokens=max_tokens)
    column = f"int8 agrees ({counted(agreement.texts, 'text')})"
    layers = read_config(folder).exit_layers
    print_data(output, asdict(agreement), _exit_rows(layers, column, agreement.shares))


@app.command("costs", epilog=COSTS_EXAMPLES)
def costs(
    folder: Folder,
    files: TextsLikeThose,
    read: TextFiles,
    device: DeviceOption = Device.AUTO,
    precision: Annotated[
        Precision,
        typer.Option(
            "--precision",
            metavar="PRECISION",
            help="As for the workers: fp32, bf16, int8 or auto.",
        ),
    ] = Precision.AUTO,
    max_tokens: MaxTokens = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Measure what each exit costs on this machine.

    Writes `costs.json`, which the policy setting cost=measured needs. A cost is the time of a text
    that stops at an exit, relative to the last exit.
    """
    from model.engine.calibrate import measure_costs, write_costs

    _check_writable(folder)
    sample = _sampled(files, read, _COST_TEXTS)[:_COST_TEXTS]
    engine = engine_for(folder, device, precision, max_tokens)
    measured = measure_costs(engine, sample)
    write_costs(folder, engine, measured)
    kind = {"device": engine.device.type, "precision": engine.precision}
    column = f"cost ({', '.join(kind.values())})"
    rows = _exit_rows(engine.config.exit_layers, column, measured)
    print_data(output, {**kind, "costs": measured}, rows)


def _check_writable(folder: Path) -> None:
    import os

    from model.errors import InvalidOptions

    if not os.access(folder, os.W_OK):
        raise InvalidOptions(f"{folder} is not writable; use a copy of the folder")


def _sampled(files: list[Path], read: TextFiles, most: int) -> list[str]:
    """Return at most `most` random texts of each file, shuffled."""
    import random

    from model.texts.data import read_texts

    chance = random.Random(0)
    sample: list[str] = []
    for path in files:
        found = read_texts(path, read.layout)
        sample += chance.sample(found, min(most, len(found)))
    chance.shuffle(sample)
    return sample


def _exit_rows(
    layers: tuple[int, ...], name: str, values: tuple[float, ...]
) -> list[dict[str, object]]:
    return [
        {"exit": exit_, "layer": layer, name: value}
        for exit_, (layer, value) in enumerate(zip(layers, values, strict=True))
    ]
