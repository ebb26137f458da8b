"""`offramp config`: which settings are in force."""

from __future__ import annotations

import typer

from consumer.cli.commands import Commands
from consumer.cli.output import Output, OutputOption, print_data
from consumer.cli.session import Given

app = Commands(help="Settings: what is in force, and where it may be set.", no_args_is_help=True)

EXAMPLES = """Examples:

`offramp config show`

`offramp config show --config offramp.toml --set batch.max_events=64`

`OFFRAMP_KAFKA__GROUP=reviews offramp config show -o json`
"""


@app.command("show", epilog=EXAMPLES)
def show(given: Given, output: OutputOption = Output.TABLE) -> None:
    """Print the settings in force, passwords hidden.

    Options win over the environment (OFFRAMP_SECTION__NAME), the environment over the file, the
    file over the defaults. The table is TOML: a start for a file of your own.
    """
    data = given.settings().model_dump(mode="json", exclude_none=True)
    if output is Output.TABLE:
        import tomli_w

        typer.echo(tomli_w.dumps(data).rstrip())
        return
    print_data(output, data, [{"section": name, "settings": value} for name, value in data.items()])
