"""`offramp model export`: model folders made ready for use."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from consumer.cli.common import Output, OutputOption, print_json, print_table
from consumer.cli.model_options import AllowBin

EXPORT_EXAMPLES = """Examples:

`offramp model export ./fine-tuned --to ./model --allow-bin`

`offramp model export someone/elasticbert-sst2 --to ./model --allow-bin`
"""


def export(
    source: Annotated[
        str, typer.Argument(metavar="FOLDER|HUB_ID", help="A fine-tuned classifier.")
    ],
    to: Annotated[Path, typer.Option("--to", metavar="NEW", help="Folder to write; new or empty.")],
    allow_bin: AllowBin = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Write a classifier of any known layout as a model folder: safetensors, fp16."""
    from model.exporting import export as run

    config = run(source, to, allow_pickle=allow_bin)
    exits = ", ".join(map(str, config.exit_layers))
    row = {"out": str(to), "exits after layers": exits, "classes": ", ".join(config.labels)}
    if output is Output.JSON:
        print_json(row)
    else:
        print_table([row], empty="")
