"""`offramp model bench`: how fast each exit is on this machine, and what a text costs."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from consumer.cli.commands import Commands, without_effect
from consumer.cli.options import (
    Device,
    DeviceOption,
    Folder,
    Precision,
    PricePerHour,
    TextFiles,
    engine_for,
)
from consumer.cli.output import Output, OutputOption, document, emit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from model.engine.engine import Engine
    from model.engine.speed import Speed

EXAMPLES = """Examples:

`offramp model bench ./model`

`offramp model bench ./model --texts-file reviews.txt --precision fp32 --precision bf16`

`offramp model bench ./model --tokens 64 --price-per-hour 2.5 -o json > h200.json`
"""
app = Commands()


@app.command("bench", epilog=EXAMPLES)
def bench(
    ctx: typer.Context,
    folder: Folder,
    read: TextFiles,
    texts_file: Annotated[
        Path | None, typer.Option(help="Texts to run; default: generated texts of --tokens tokens.")
    ] = None,
    tokens: Annotated[
        int, typer.Option(min=3, max=1_000_000, help="Tokens in a generated text.")
    ] = 32,
    texts: Annotated[
        int, typer.Option(min=1, max=1_000_000, help="Texts per run, as in a batch of a worker.")
    ] = 128,
    precision: Annotated[
        list[Precision] | None,
        typer.Option(
            "--precision", metavar="PRECISION", help="fp32, bf16, int8 or auto; may be repeated."
        ),
    ] = None,
    repeat: Annotated[
        int, typer.Option(min=1, max=1000, help="Number of runs, of which the median is shown.")
    ] = 3,
    price_per_hour: PricePerHour = None,
    device: DeviceOption = Device.AUTO,
    output: OutputOption = Output.TABLE,
) -> None:
    """Measure texts per second for every exit and precision, with tokenising.

    `-o json` writes a file from which `offramp plan --measured` works out how many such machines a
    stream needs.
    """
    from consumer.sizing.measured import KIND
    from model.engine.speed import generated_texts, measure_speed
    from model.texts.data import read_texts

    if texts_file is None:
        without_effect(ctx, {"form", "text_column"}, "without --texts-file")
    else:
        without_effect(ctx, {"tokens"}, "with --texts-file")
    head: dict[str, Any] = {}
    rows: list[dict[str, Any]] = []
    for kind in precision or [Precision.FP32, Precision.BF16]:
        engine = engine_for(folder, device, kind, None)
        sample = (
            generated_texts(engine, texts, tokens=tokens)
            if texts_file is None
            else read_texts(texts_file, read.layout)[:texts]
        )
        speed = measure_speed(engine, sample, repeat=repeat)
        head = head or _head(engine, speed)
        rows += _rows(engine, speed, price_per_hour)
    table = [_shown(row, head["tokens_per_text"]) for row in rows]
    emit(output, KIND, rows, rows_name="exits", table=table, **head)


def measured(engine: Engine, texts: Sequence[str], *, repeat: int) -> dict[str, Any]:
    """Return the document of one precision, as `offramp model bench -o json` writes it."""
    from consumer.sizing.measured import KIND
    from model.engine.speed import measure_speed

    speed = measure_speed(engine, texts, repeat=repeat)
    rows = _rows(engine, speed, None)
    return document(KIND, rows, rows_name="exits", **_head(engine, speed))


def _head(engine: Engine, speed: Speed) -> dict[str, Any]:
    cores = os.cpu_count() or 1
    machine = f"{cores} cores, {platform.machine()}"
    if engine.device.type == "cuda":
        import torch

        machine = torch.cuda.get_device_name(engine.device)
    return {
        "machine": machine,
        "device": engine.device.type,
        "cores": cores,
        "fingerprint": engine.fingerprint,
        "texts": speed.texts,
        "few_texts": speed.few_texts,
        "tokens_per_text": round(speed.tokens_per_text, 2),
    }


def _rows(engine: Engine, speed: Speed, price_per_hour: float | None) -> list[dict[str, Any]]:
    """Return a row for each exit; texts a second are those of one batch after the other."""
    from consumer.sizing.plan import price_per_million

    rows = []
    for exit_, each in enumerate(speed.exits):
        texts_per_s = speed.texts / (speed.tokenised.wall_s + each.many.wall_s)
        price = None if price_per_hour is None else price_per_million(price_per_hour, texts_per_s)
        rows.append(
            {
                "precision": engine.precision,
                "exit": exit_,
                "layer": each.layer,
                "texts_per_s": round(texts_per_s, 1),
                "price_per_million": None if price is None else round(price, 4),
                "batch_ms": 1e3 * each.many.wall_s,
                "few_ms": 1e3 * each.few.wall_s,
                "cpu_us": 1e6 * each.many.cpu_s / speed.texts,
                "tokenise_us": 1e6 * speed.tokenised.wall_s / speed.texts,
                "tokenise_cpu_us": 1e6 * speed.tokenised.cpu_s / speed.texts,
            }
        )
    return rows


def _shown(row: dict[str, Any], tokens_per_text: float) -> dict[str, object]:
    shown = {
        "precision": row["precision"],
        "exit": row["exit"],
        "layer": row["layer"],
        "texts/s": row["texts_per_s"],
        "tokens/s": round(row["texts_per_s"] * tokens_per_text),
        "tokens a text": round(tokens_per_text, 1),
    }
    if row["price_per_million"] is not None:
        shown["price/1M texts"] = f"{row['price_per_million']:.3g}"
    return shown
