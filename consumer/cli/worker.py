"""`offramp worker`: runs a worker until it is told to stop."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from consumer.cli.common import Bootstrap, Config, RedisUrl, Set, read_settings

EXAMPLES = """Examples:

`offramp worker --bootstrap-servers localhost:9092 --redis-url redis://localhost:6379/0`

`offramp worker --config offramp.toml --instance worker-0`

`OFFRAMP_MODEL__PATH=/models/reviews offramp worker --set batch.max_events=64`
"""


def worker(
    config: Config = None,
    bootstrap_servers: Bootstrap = None,
    redis_url: RedisUrl = None,
    group: Annotated[str | None, typer.Option(help="Consumer group.")] = None,
    instance: Annotated[
        str | None, typer.Option(help="Unique name in the group, the same after a restart.")
    ] = None,
    model: Annotated[Path | None, typer.Option(help="Folder of the model.")] = None,
    set_: Set = None,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
) -> None:
    """Read texts from Kafka, predict, write predictions, learn one exit per domain.

    Workers of one group share the partitions and learn together through Redis. SIGTERM and Ctrl-C
    finish the batch at hand, commit it, leave the group and end with exit code 0.
    """
    settings = read_settings(
        config,
        set_,
        kafka__bootstrap_servers=bootstrap_servers,
        kafka__group=group,
        redis__url=redis_url,
        instance=instance,
        model__path=model,
    )
    from consumer.wiring import run_worker

    run_worker(settings, log_level=log_level)
