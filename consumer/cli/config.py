"""`offramp config`: which settings are in force."""

from __future__ import annotations

import typer

from consumer.cli.common import Config, Output, OutputOption, Set, print_json, read_settings

app = typer.Typer(help="Settings: what is in force, and where it may be set.", no_args_is_help=True)

EXAMPLES = """Examples:

`offramp config show`

`offramp config show --config offramp.toml --set batch.max_events=64`

`OFFRAMP_KAFKA__GROUP=reviews offramp config show -o json`
"""


@app.command("show", epilog=EXAMPLES)
def show(config: Config = None, set_: Set = None, output: OutputOption = Output.TABLE) -> None:
    """Print the settings in force, passwords hidden.

    Options win over the environment (OFFRAMP_SECTION__NAME), the environment over the file, the
    file over the defaults. The table is TOML: a start for a file of your own.
    """
    settings = read_settings(config, set_)
    data = settings.model_dump(mode="json", exclude_none=True)
    if output is Output.JSON:
        print_json(data)
        return
    import tomli_w

    typer.echo(tomli_w.dumps(data).rstrip())
