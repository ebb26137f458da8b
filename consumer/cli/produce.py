"""`offramp produce`: writes the texts of a file to a topic."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from consumer.cli.options import FILES, MOST_ROWS, LabelledFiles
from consumer.cli.output import Output, OutputOption, print_data, printable
from consumer.cli.session import OnKafka
from policy_state.wording import counted

if TYPE_CHECKING:
    from consumer.kafka.writing.producing import Produced

EXAMPLES = """Examples:

`offramp produce reviews.tsv --to texts.hotels`

`offramp produce reviews.jsonl --to texts.films --rate 200`

`offramp produce reviews.csv --text-column review --to texts.films`

`zstdcat big.tsv.zst | offramp produce - --format tsv --to texts.films --limit 10000`
"""


def produce(
    file: Annotated[Path, typer.Argument(help=FILES)],
    topic: Annotated[
        str, typer.Option("--to", metavar="TOPIC", help="Topic to write to, which must exist.")
    ],
    given: OnKafka,
    files: LabelledFiles,
    skip: Annotated[
        int, typer.Option(min=0, max=MOST_ROWS, metavar="N", help="Skip this many texts first.")
    ] = 0,
    limit: Annotated[
        int | None,
        typer.Option(min=1, max=MOST_ROWS, metavar="N", help="Write at most this many texts."),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(min=0.01, max=1e6, help="Write at most this many texts per second."),
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Write the texts of a file to a topic, each as a JSON event.

    A TSV or CSV file needs a header with a column `text`. The columns `id`, `domain`, `timestamp`
    and `label` are sent too, and other columns are ignored. JSONL lines are sent unchanged. A row
    that cannot be read stops the command, and the error names its line. Whenever the command
    stops, it reports how many texts were written.
    """
    settings = given.settings()
    from rich.console import Console
    from rich.progress import Progress

    from consumer.kafka.writing.producing import Produced, produce_file

    console = Console(stderr=True)
    produced = Produced()
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bars:
        task = bars.add_task(f"producing to {topic}", total=limit)
        try:
            produce_file(
                file,
                topic=topic,
                settings=settings.kafka,
                layout=files.layout,
                skip=skip,
                limit=limit,
                rate=rate,
                produced=produced,
                report=lambda done: bars.update(task, completed=done),
            )
        except BaseException as error:  # also an interrupt: what was written stays written
            if produced.written or produced.unclear or not isinstance(error, Exception):
                typer.echo(_stopped(produced, topic, skip), err=True)
            raise
    if output is Output.TABLE:
        typer.echo(f"{counted(produced.written, 'text')} written to {topic}", err=True)
    else:
        sent = {"topic": topic, "sent": produced.written}
        print_data(output, sent, [sent])


def _stopped(produced: Produced, topic: str, skip: int) -> str:
    written, unclear = produced.written, produced.unclear
    said = f"stopped: {counted(written, 'text was', 'texts were')} written to {printable(topic)}"
    if unclear:
        return f"{said}; Kafka did not confirm {unclear} more, which may have been written too"
    return f"{said}; continue with --skip {skip + written}" if written else said
