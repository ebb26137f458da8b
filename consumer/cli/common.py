"""What the commands share: settings options, output formats, tables."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from consumer.settings.load import Settings


_NUMERIC: Final = frozenset("0123456789.%-: ")  # numbers, lists of them, times
_TEXT_WIDTH: Final = 16  # longer words are folded rather than that columns are left out
_PROSE_WIDTH: Final = 32  # sentences, likewise
_GAP: Final = 2  # between two columns

KAFKA: Final = ("kafka.bootstrap_servers", "kafka.request_timeout_s", "kafka.security")
"""The settings of a command that asks Kafka, by name or section, for `read_settings`."""

MOST_ROWS: Final = 1_000_000_000
"""The largest `--limit`: lists are cut by integers that C knows."""

POLICY: Final = ("redis", "policy.name")
"""Those of a command that asks for a policy."""


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
SetKafka = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="A setting this command uses, e.g. kafka.request_timeout_s=60.",
    ),
]
SetRedis = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="NAME=VALUE", help="A setting this command uses, e.g. redis.timeout_s=5."
    ),
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
    config: Path | None,
    assignments: Sequence[str] | None,
    *,
    uses: Sequence[str] | None = None,
    **named: object,
) -> Settings:
    """Return the settings; `named` are options with `__` for the dot, None where not given.

    Args:
        config: The settings file.
        assignments: What `--set` was given.
        uses: The settings and sections that the command uses: another one in `assignments` would
            be passed over in silence. None: all.
        named: Options for one setting each.

    Raises:
        InvalidSettings: naming the field and the value.
    """
    from consumer.errors import InvalidSettings
    from consumer.settings.load import load_settings

    options: dict[str, object] = {}
    for assignment in assignments or ():
        name, equals, value = assignment.partition("=")
        if not equals or not name:
            raise InvalidSettings(f"--set {assignment}: expected NAME=VALUE")
        if name in options:
            raise InvalidSettings(f"--set {name} is given twice")
        options[name] = value
    found = {name.replace("__", "."): v for name, v in named.items() if v is not None}
    if twice := sorted(found.keys() & options.keys()):
        raise InvalidSettings(f"{twice[0]} is given twice, by --set and by an option of its own")
    settings = load_settings(config, options=options | found)
    if uses is not None:
        _check_used(options, uses)
    return settings


def _check_used(names: Iterable[str], uses: Sequence[str]) -> None:
    from consumer.errors import InvalidSettings

    for name in names:
        if any(f"{name}.".startswith(f"{use}.") or use.startswith(f"{name}.") for use in uses):
            continue
        section, _, field = name.partition(".")
        stored = section in {"policy", "store"} and name != "policy.name"
        raise InvalidSettings(
            f"--set {name}: this command does not use it; "
            + (
                f"it is stored with the policy: `offramp policy set --setting {field}=VALUE`"
                if stored
                else f"it uses {', '.join(uses)}"
            )
        )


def print_json(data: object) -> None:
    """Write data as JSON on stdout."""
    typer.echo(json.dumps(data, indent=2, ensure_ascii=True))


def print_table(
    rows: Sequence[Mapping[str, object]],
    *,
    empty: str,
    spare: Sequence[str] = (),
    prose: str | None = None,
) -> None:
    """Write rows as a table on stdout.

    Args:
        rows: All with the same columns.
        empty: What stderr says where there are none.
        spare: Columns to leave out, in this order, as far as the terminal is too narrow. Numbers
            are never wrapped where that makes room for them.
        prose: A column of sentences, which are wrapped and need more room than names.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if not rows:
        typer.echo(empty, err=True)
        return
    console = Console()
    cells = {name: [printable(row[name]) for row in rows] for name in rows[0]}
    left_out = []
    for name in spare:
        if name in cells and _least_width(cells, prose) > console.width:
            left_out.append(name)
            del cells[name]
    fits = _least_width(cells, prose) <= console.width
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name, column in cells.items():
        numeric = _is_numeric(column)
        justify: Literal["left", "right"] = "right" if numeric else "left"
        table.add_column(name, justify=justify, overflow="fold", no_wrap=numeric and fits)
    for row in zip(*cells.values(), strict=True):
        table.add_row(*map(Text, row))
    console.print(table)
    if left_out:
        typer.echo(f"no room on this terminal for: {', '.join(left_out)}", err=True)


def _is_numeric(column: Sequence[str]) -> bool:
    return all(_NUMERIC.issuperset(cell) for cell in column)


def _least_width(cells: Mapping[str, Sequence[str]], prose: str | None) -> int:
    """Return how wide a table of these columns must be for people to read it."""
    from rich.cells import cell_len

    widths = []
    for name, column in cells.items():
        if _is_numeric(column):
            widths.append(max(map(cell_len, [name, *column])))
        elif name == prose:
            widths.append(min(_PROSE_WIDTH, max(map(cell_len, [name, *column]))))
        else:
            words = [word for text in (name, *column) for word in text.split()]
            widths.append(min(_TEXT_WIDTH, max(map(cell_len, words), default=0)))
    return sum(widths) + _GAP * (len(widths) - 1)


def printable(value: object) -> str:
    """Return a value as text that cannot change the terminal."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:z.3f}"
    text = str(value)
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
