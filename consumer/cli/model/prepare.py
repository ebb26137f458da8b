"""`offramp model export` and `calibrate`: model folders made ready for use."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from consumer.cli.commands import Commands, without_effect
from consumer.cli.options import (
    FILES,
    AllowBin,
    Device,
    DeviceOption,
    Folder,
    MaxTokens,
    Out,
    Precision,
    TextFiles,
    engine_for,
)
from consumer.cli.output import Output, OutputOption, print_data
from policy_state.wording import counted

EXPORT_EXAMPLES = """Examples:

`offramp model export ./fine-tuned --out ./model --allow-bin`

`offramp model export someone/elasticbert-sst2 --out ./model --allow-bin`
"""
CALIBRATE_EXAMPLES = """Examples:

`offramp model calibrate ./model --texts-file reviews.txt --int8`

`offramp model calibrate ./model --texts-file reviews.txt --costs --precision bf16`
"""
_COST_TEXTS = 64  # each runs to every exit several times

app = Commands()


@app.command("export", epilog=EXPORT_EXAMPLES)
def export(
    source: Annotated[
        str, typer.Argument(metavar="FOLDER|HUB_ID", help="Fine-tuned classifier to convert.")
    ],
    out: Out,
    allow_bin: AllowBin = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Convert a classifier to a model folder, with fp16 safetensors."""
    from model.checkpoint.folder import export as run

    config = run(source, out, allow_pickle=allow_bin)
    exits = ", ".join(map(str, config.exit_layers))
    row = {"out": str(out), "exits after layers": exits, "classes": ", ".join(config.labels)}
    print_data(output, row, [row])


@app.command("calibrate", epilog=CALIBRATE_EXAMPLES)
def calibrate(
    ctx: typer.Context,
    folder: Folder,
    texts_file: Annotated[
        list[Path],
        typer.Option(
            "--texts-file", metavar="FILE", help=f"Texts like those in the stream: {FILES}"
        ),
    ],
    read: TextFiles,
    int8: Annotated[
        bool,
        typer.Option("--int8", help="Calibrate for int8, and measure the agreement with fp32."),
    ] = False,
    costs: Annotated[
        bool, typer.Option("--costs", help="Measure the cost of each exit on this machine.")
    ] = False,
    texts: Annotated[
        int,
        typer.Option(
            min=1, max=10_000_000, help="Use at most this many random texts of each file."
        ),
    ] = 1200,
    device: DeviceOption = Device.AUTO,
    precision: Annotated[
        Precision,
        typer.Option(
            "--precision",
            metavar="PRECISION",
            help="For --costs, as for the workers: fp32, bf16, int8 or auto.",
        ),
    ] = Precision.AUTO,
    max_tokens: MaxTokens = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Prepare a model folder for int8, or measure what each exit costs.

    --int8 writes `int8.safetensors`, which the precision int8 needs. Half of the texts set its
    ranges; the other half measures how often its labels agree with fp32. --costs writes
    `costs.json`, which the policy setting cost=measured needs. A cost is the time of a text that
    stops at an exit, relative to the last exit.
    """
    import os
    import random
    from dataclasses import asdict

    from model.config import read_config
    from model.engine.calibrate import calibrate_int8, measure_costs, write_costs
    from model.errors import InvalidOptions
    from model.texts.data import read_texts

    if not (int8 or costs):
        raise InvalidOptions("there is nothing to do: give --int8, --costs or both")
    if not costs:
        without_effect(ctx, {"device", "precision"}, "without --costs")
    if not os.access(folder, os.W_OK):
        raise InvalidOptions(f"{folder} is not writable; calibrate a copy of the folder")
    chance = random.Random(0)
    sample: list[str] = []
    for path in texts_file:
        found = read_texts(path, read.layout)
        sample += chance.sample(found, min(texts, len(found)))
    chance.shuffle(sample)
    made: dict[str, object] = {}
    columns: dict[str, tuple[float, ...]] = {}
    if int8:
        agreement = calibrate_int8(folder, sample, max_tokens=max_tokens)
        made["int8"] = asdict(agreement)
        columns[f"int8 agrees ({counted(agreement.texts, 'text')})"] = agreement.shares
    if costs:
        engine = engine_for(folder, device, precision, max_tokens)
        measured = measure_costs(engine, sample[:_COST_TEXTS])
        write_costs(folder, engine, measured)
        kind = {"device": engine.device.type, "precision": engine.precision}
        made["costs"] = {**kind, "costs": measured}
        columns[f"cost ({', '.join(kind.values())})"] = measured
    rows = [
        {"exit": exit_, "layer": layer, **{name: of[exit_] for name, of in columns.items()}}
        for exit_, layer in enumerate(read_config(folder).exit_layers)
    ]
    print_data(output, made, rows)
