"""`offramp model export` and `trim`: a model folder written anew in another form."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from consumer.cli.commands import Commands
from consumer.cli.model.progress import progress_bars
from consumer.cli.options import FILES, AllowBin, Folder, LabelledFiles, MaxTokens, Out
from consumer.cli.output import Output, OutputOption, print_data, print_table
from model.folder_files import CALIBRATION, Store

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from model.checkpoint.rewrite import Comparison, Rewritten

EXPORT_EXAMPLES = """Examples:

`offramp model export ./fine-tuned --out ./model --allow-bin`

`offramp model export ./model --out ./small --store int8 --eval sst2/dev.tsv --eval imdb/test.tsv`

`offramp model export ./small --out ./fp16`
"""
TRIM_EXAMPLES = """Examples:

`offramp model trim ./model reviews.txt.zst news.tsv --out ./trimmed --eval sst2/dev.tsv`

`offramp model trim ./model reviews.txt.zst --out ./trimmed --min-count 1`
"""

Evaluate = Annotated[
    list[Path] | None,
    typer.Option(
        "--eval",
        metavar="FILE",
        help="Texts to compare both models on, with labels or without; may be repeated.",
    ),
]
Texts = Annotated[
    int,
    typer.Option(
        min=1, max=10_000_000, help="Use at most this many random texts of each --eval file."
    ),
]

MEASURED = {"int8.safetensors": "offramp model int8", "costs.json": "offramp model costs"}

app = Commands()


@app.command("export", epilog=EXPORT_EXAMPLES)
def export(
    source: Annotated[
        str, typer.Argument(metavar="FOLDER|HUB_ID", help="Fine-tuned classifier to convert.")
    ],
    out: Out,
    read: LabelledFiles,
    store: Annotated[
        Store,
        typer.Option(
            metavar="FORM",
            help="How matrices are stored: fp16, or int8 with a scale for each row, half the size.",
        ),
    ] = Store.FP16,
    evaluate: Evaluate = None,
    texts: Texts = 2000,
    max_tokens: MaxTokens = None,
    allow_bin: AllowBin = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Convert a classifier to a model folder, with safetensors in fp16 or in 8 bits.

    The calibration and the card come along. With --eval the command counts the labels that differ
    between the new folder and the old one at each exit.
    """
    from model.checkpoint.hub import locate
    from model.checkpoint.rewrite import Opened, check_new
    from model.checkpoint.rewrite import export as run

    check_new(out)
    folder = locate(source, allow_pickle=allow_bin)
    with comparison(folder, evaluate or [], read, texts, max_tokens) as compare:
        opened = Opened.of(folder, allow_pickle=allow_bin)
        command = ["offramp", *sys.argv[1:]]
        made = run(opened, out, store=store, compare=compare, command=command)
    print_rewritten(made, folder, out, output)


@app.command("trim", epilog=TRIM_EXAMPLES)
def trim(
    folder: Folder,
    files: Annotated[list[Path], typer.Argument(help=f"Texts like those in the stream: {FILES}")],
    out: Out,
    read: LabelledFiles,
    min_count: Annotated[
        int,
        typer.Option(
            min=1, max=1_000_000_000, help="Keep word pieces that occur this often in the texts."
        ),
    ] = 5,
    evaluate: Evaluate = None,
    texts: Texts = 2000,
    max_tokens: MaxTokens = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Write a smaller model without the word pieces that the texts hardly use.

    All of each file is read. Single characters and special tokens stay, so a word whose piece is
    dropped is split into smaller pieces. With --eval, of texts other than these, the command
    counts the labels that differ between the new folder and the old one at each exit.
    """
    from model.checkpoint.rewrite import Opened, check_new
    from model.checkpoint.trim import Choice
    from model.checkpoint.trim import trim as run
    from model.texts.data import read_texts

    check_new(out)
    found = [text for path in files for text in read_texts(path, read.layout)]
    opened = Opened.of(folder)
    with comparison(folder, evaluate or [], read, texts, max_tokens) as compare:
        choice = Choice.of(opened, found, min_count=min_count)
        made = run(opened, choice, out, compare=compare, command=["offramp", *sys.argv[1:]])
    row = {
        "pieces before": opened.tokenizer.get_vocab_size(),
        "pieces": len(choice.kept),
        "texts": choice.texts,
        "texts with other tokens": choice.retokenised,
    }
    print_rewritten(made, folder, out, output, **row)


@contextlib.contextmanager
def comparison(
    folder: Path,
    files: Sequence[Path],
    read: LabelledFiles,
    most: int,
    max_tokens: int | None,
) -> Iterator[Comparison]:
    """Compare on at most `most` random texts of each file, and show the progress."""
    import random

    from model.checkpoint.rewrite import Comparison, EvalTexts
    from model.config import read_config
    from model.labels import Classes
    from model.texts.data import read_known, set_name

    found = []
    for path in files:
        texts, truth = read_known(path, Classes(read_config(folder).labels), read.layout)
        rows = random.Random(0).sample(range(len(texts)), min(most, len(texts)))
        labels = None if truth is None else tuple(truth[row] for row in rows)
        found.append(EvalTexts(set_name(path), tuple(texts[row] for row in rows), labels))
    with progress_bars() as bars:
        task = bars.add_task("comparing", total=2 * sum(len(each.texts) for each in found))
        yield Comparison(tuple(found), max_tokens, lambda count: bars.advance(task, count))


def print_rewritten(
    made: Rewritten, source: Path, out: Path, output: Output, **more: object
) -> None:
    """Print what was written and what it changes, and say on stderr what to measure anew."""
    from model.config import read_config

    config = read_config(out)
    row: dict[str, object] = {
        "out": str(out),
        "exits after layers": ", ".join(map(str, config.exit_layers)),
        "classes": ", ".join(config.labels),
        "fingerprint": made.fingerprint,
    }
    sizes: dict[str, object] = {"MB before": made.mb_before, "MB": made.mb, **more}
    if made.errors is not None:
        sizes |= {"row error, mean": made.errors.mean, "row error, largest": made.errors.largest}
    print_data(output, row | made.to_dict() | more, [row])
    if output is Output.TABLE:
        print_table([sizes], empty="nothing was written")
    if output is Output.TABLE and made.effects:
        print_table(
            [
                {
                    "texts of": effect.name,
                    "texts": effect.texts,
                    "other tokens": effect.retokenised,
                    "exit": exit_,
                    "layer": layer,
                    "labels that differ": effect.differ[exit_],
                    "accuracy before": effect.accuracy_before and effect.accuracy_before[exit_],
                    "accuracy": effect.accuracy and effect.accuracy[exit_],
                }
                for effect in made.effects
                for exit_, layer in enumerate(config.exit_layers)
            ],
            empty="nothing was compared",
        )
    for name, command in MEASURED.items():
        if (source / name).exists():
            again = f"{command} {out} FILE"
            typer.echo(f"{name} belongs to {source}; make it anew: {again}", err=True)
    if (out / CALIBRATION).exists() and made.fingerprint != made.fingerprint_before:
        typer.echo(
            f"{CALIBRATION} was measured with {source} and carried over; with labelled texts it "
            f"can be made anew: offramp model calibrate {out} FILE",
            err=True,
        )
