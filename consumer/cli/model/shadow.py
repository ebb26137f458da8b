"""`offramp shadow`: compares a new model with the live one on a share of the live texts."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import typer

from consumer.cli.options import Bootstrap, LogLevel, LogLevelOption, RedisUrl
from consumer.cli.output import duration_ms, printable
from consumer.cli.session import KAFKA, POLICY, ROUTES, Given

EXAMPLES = """Examples:

`offramp shadow --config offramp.toml --model /models/next`

`offramp shadow -c offramp.toml --model /models/next --share 0.2 --since 1d --texts 10000`

`offramp shadow -c offramp.toml --model /models/next --label pos=positive --label neg=negative`
"""

_USES: Final = (
    *POLICY,
    *ROUTES,
    *KAFKA,
    *("kafka.format", "kafka.fields", "kafka.registry", "model", "worker.give_up_s", "log"),
)


@dataclass(frozen=True, kw_only=True)
class OfShadow(Given):
    """A shadow's options for single settings."""

    bootstrap_servers: Bootstrap = None
    redis_url: RedisUrl = None
    group: Annotated[
        str | None, typer.Option("--group", "-g", help="Consumer group of the workers.")
    ] = None
    policy: Annotated[
        str | None,
        typer.Option("--policy", "-p", metavar="NAME", help="Name of the policy of the workers."),
    ] = None
    model: Annotated[
        Path, typer.Option("--model", "-m", metavar="FOLDER", help="Folder of the new model.")
    ]


def shadow(
    given: OfShadow,
    share: Annotated[
        float,
        typer.Option(min=0.000001, max=1, metavar="SHARE", help="Share of the texts to compare."),
    ] = 0.05,
    since: Annotated[
        str,
        typer.Option(
            metavar="TIME",
            help="Begin with predictions of this long ago, e.g. 2h; later starts continue.",
        ),
    ] = "0s",
    texts: Annotated[
        int | None,
        typer.Option(
            min=1, max=1_000_000_000, metavar="N", help="End after at least this many texts."
        ),
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LIVE=NEW",
            help="The new model's name of a label of the live model; may be repeated.",
        ),
    ] = None,
    log_level: LogLevelOption = LogLevel.INFO,
) -> None:
    """Compare a new model with the live one, on a share of the texts.

    The shadow reads predictions and their texts beside the workers, runs the new model on them, and
    keeps in Redis how often both say the same. It writes no prediction and changes no counter of
    the policy. `offramp policy show DOMAIN --shadow` shows what it has found.

    It runs until a signal ends it, and continues where it was when it is started again. Each text
    is compared once. Labels are compared by their names.
    """
    names = _names(label or [])
    settings = given.settings(*_USES)
    since_ms = duration_ms(since)
    from consumer.shadow.run import ShadowOptions, run_shadow

    options = ShadowOptions(share, int(time.time() * 1000) - since_ms, texts, names)
    run_shadow(settings, options, log_level=log_level)


def _names(given: list[str]) -> dict[str, str]:
    """Read which label of the new model stands for which of the live one."""
    names = {}
    for each in given:
        live, equals, new = each.partition("=")
        if not (equals and live and new) or live in names:
            raise typer.BadParameter(f"--label {printable(each)}: expected LIVE=NEW, LIVE once")
        names[live] = new
    return names
