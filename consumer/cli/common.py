"""What the commands share: settings options, output formats, tables."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from consumer.settings import Settings


class Output(StrEnum):
    """How data is printed."""

    TABLE = "table"
    JSON = "json"


Config = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="Settings file, TOML or YAML.", envvar="OFFRAMP_CONFIG"),
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Any setting, e.g. batch.max_events=64."),
]
OutputOption = Annotated[
    Output, typer.Option("--output", "-o", help="A table for people, JSON for programs.")
]
Bootstrap = Annotated[
    str | None,
    typer.Option("--bootstrap-servers", "-b", metavar="HOST:PORT", help="Kafka addresses."),
]
RedisUrl = Annotated[str | None, typer.Option("--redis-url", metavar="URL", help="Redis address.")]
PolicyName = Annotated[
    str | None, typer.Option("--policy", "-p", metavar="NAME", help="Which policy's counters.")
]


def read_settings(
    config: Path | None, assignments: Sequence[str] | None, **named: object
) -> Settings:
    """Return the settings; `named` are options with `__` for the dot, None where not given.

    Raises:
        InvalidSettings: naming the field and the value.
    """
    from consumer.errors import InvalidSettings
    from consumer.settings import load_settings

    options: dict[str, object] = {}
    for assignment in assignments or ():
        name, equals, value = assignment.partition("=")
        if not equals or not name:
            raise InvalidSettings(f"--set {assignment}: expected NAME=VALUE")
        options[name] = value
    options |= {
        name.replace("__", "."): value for name, value in named.items() if value is not None
    }
    return load_settings(config, options=options)


def print_json(data: object) -> None:
    """Write data as JSON on stdout."""
    typer.echo(json.dumps(data, indent=2, ensure_ascii=True))


def print_table(rows: Sequence[Mapping[str, object]], *, empty: str) -> None:
    """Write rows as a table on stdout; `empty` goes to stderr where there are none."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if not rows:
        typer.echo(empty, err=True)
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name, value in rows[0].items():
        numeric = isinstance(value, int | float)
        table.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(value)) for value in row.values()))
    Console().print(table)


def printable(value: object) -> str:
    """Return a value as text that cannot change the terminal."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:z.3f}"
    text = str(value)
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
