"""`offramp produce`: puts the texts of a file into a topic."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from consumer.cli.common import (
    KAFKA,
    Bootstrap,
    Config,
    Output,
    OutputOption,
    Set,
    print_json,
    read_settings,
)

EXAMPLES = """Examples:

`offramp produce reviews.tsv --to texts.hotels`

`offramp produce reviews.jsonl --to texts.films --rate 200`

`zstdcat big.tsv.zst | offramp produce - --format tsv --to texts.films --limit 10000`
"""


def produce(
    file: Annotated[Path, typer.Argument(help="TSV, CSV, JSONL or plain lines; - reads stdin.")],
    topic: Annotated[
        str, typer.Option("--to", metavar="TOPIC", help="Topic to write to; it must exist.")
    ],
    config: Config = None,
    bootstrap_servers: Bootstrap = None,
    format_: Annotated[
        str, typer.Option("--format", help="tsv, csv, jsonl, lines, or auto: by the file's ending.")
    ] = "auto",
    limit: Annotated[int | None, typer.Option(min=1, help="Stop after so many texts.")] = None,
    rate: Annotated[float | None, typer.Option(min=0.01, help="At most so many a second.")] = None,
    set_: Set = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Write every text of a file to a topic, as JSON events.

    TSV and CSV need a header with a column `text`; `id`, `domain`, `timestamp` and `label` are
    taken along, other columns are left out. JSONL lines go out as they are. Files ending in .zst
    are decompressed. A line that cannot be read stops the run before anything later is sent; the
    error names it.
    """
    settings = read_settings(config, set_, uses=KAFKA, kafka__bootstrap_servers=bootstrap_servers)
    from rich.console import Console
    from rich.progress import Progress

    from consumer.producing import produce_file

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(f"producing to {topic}", total=limit)
        sent = produce_file(
            file,
            topic=topic,
            settings=settings.kafka,
            form=format_,
            limit=limit,
            rate=rate,
            report=lambda done: progress.update(task, completed=done),
        )
    if output is Output.JSON:
        print_json({"topic": topic, "sent": sent})
    else:
        typer.echo(f"{sent} texts written to {topic}", err=True)
