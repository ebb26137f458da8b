"""`offramp config`: which settings are in force."""

from __future__ import annotations

import typer

from consumer.cli.commands import Commands
from consumer.cli.output import Output, OutputOption, print_data
from consumer.cli.session import Given

app = Commands(help="Show the settings in force.", no_args_is_help=True)

EXAMPLES = """Examples:

`offramp config show`

`offramp config show --config offramp.toml --set batch.max_events=64`

`OFFRAMP_KAFKA__GROUP=reviews offramp config show -o json`
"""


@app.command("show", epilog=EXAMPLES)
def show(given: Given, output: OutputOption = Output.TABLE) -> None:
    """Print the settings in force, with passwords hidden.

    An option overrides an environment variable (OFFRAMP_SECTION__NAME), a variable overrides the
    settings file, and the file overrides the default. The output is TOML, so you can save it as
    your own settings file.
    """
    data = given.settings().model_dump(mode="json", exclude_none=True)
    if output is Output.TABLE:
        import tomli_w

        typer.echo(tomli_w.dumps(data).rstrip())
        return
    print_data(output, data, [{"section": name, "settings": value} for name, value in data.items()])
