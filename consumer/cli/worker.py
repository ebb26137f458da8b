"""`offramp worker`: runs a worker until it is told to stop."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from consumer.cli.common import (
    Bootstrap,
    Config,
    Output,
    OutputOption,
    RedisUrl,
    Set,
    print_json,
    print_table,
    read_settings,
)
from consumer.cli.together import without_effect

if TYPE_CHECKING:
    from consumer.settings.load import Settings

_EXIT_FOUND = 4
_EACH_ITS_OWN = ("instance=", "worker.liveness_file=")  # of workers that one command starts


class LogLevel(StrEnum):
    """The least that is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


EXAMPLES = """Examples:

`offramp worker --bootstrap-servers localhost:9092 --redis-url redis://localhost:6379/0`

`offramp worker --config offramp.toml --instance worker-0`

`OFFRAMP_MODEL__PATH=/models/reviews offramp worker --set batch.max_events=64`

`offramp worker --config offramp.toml --processes 4`

`offramp worker --config offramp.toml --check`
"""


def worker(
    ctx: typer.Context,
    config: Config = None,
    bootstrap_servers: Bootstrap = None,
    redis_url: RedisUrl = None,
    group: Annotated[str | None, typer.Option("--group", "-g", help="Consumer group.")] = None,
    instance: Annotated[
        str | None, typer.Option(help="Unique name in the group, the same after a restart.")
    ] = None,
    model: Annotated[
        Path | None, typer.Option("--model", "-m", metavar="FOLDER", help="A model folder.")
    ] = None,
    processes: Annotated[
        int,
        typer.Option(
            min=1,
            max=1000,
            help="How many workers to run; they are called INSTANCE-0, INSTANCE-1, ...",
        ),
    ] = 1,
    check: Annotated[
        bool, typer.Option("--check", help="Try everything a worker needs, and end.")
    ] = False,
    set_: Set = None,
    log_level: Annotated[
        LogLevel, typer.Option(case_sensitive=False, help="What is logged, on stderr.")
    ] = LogLevel.INFO,
    output: OutputOption = Output.TABLE,
) -> None:
    """Read texts, predict, write predictions, learn one exit per domain.

    Workers of one group share the partitions and learn together through Redis. SIGTERM and Ctrl-C
    finish what is under way, commit it and end with exit code 0; a second signal ends at once. The
    group keeps the place of a worker that ended for kafka.session_timeout_s: back within that it
    has its partitions again, otherwise they go to the others. A worker that is told to stop while
    it starts ends within a second. Where Redis or Kafka is away it waits for them; a wrong
    password, model or right ends it at once, and so do routes that Redis has lost. With --processes
    a worker that ends by itself is started again.

    --check tries model, Redis, Kafka, topics and rights, changes nothing, and ends with exit code 4
    where something is wrong.
    """
    if check:
        without_effect(ctx, {"processes", "log_level"}, "with --check")
    else:
        without_effect(ctx, {"output"}, "without --check")
    settings = read_settings(
        config,
        set_,
        kafka__bootstrap_servers=bootstrap_servers,
        kafka__group=group,
        redis__url=redis_url,
        instance=instance,
        model__path=model,
    )
    if check:
        _check(settings, output)
        return
    if processes == 1:
        from consumer.worker.run import run_worker

        run_worker(settings, log_level=log_level)
        return
    from consumer.process.supervisor import run_supervisor

    options = {
        "--config": config,
        "--bootstrap-servers": bootstrap_servers,
        "--group": group,
        "--redis-url": redis_url,
        "--model": model,
        "--log-level": log_level,
    }
    given = [f"{name}={value}" for name, value in options.items() if value is not None]
    given += [f"--set={each}" for each in set_ or () if not each.startswith(_EACH_ITS_OWN)]
    code = run_supervisor(
        ["worker", *given],
        instance=settings.instance,
        processes=processes,
        drain_s=settings.worker.drain_s,
        liveness_file=settings.worker.liveness_file,
    )
    raise typer.Exit(code)


def _check(settings: Settings, output: Output) -> None:
    from dataclasses import asdict

    from consumer.worker.preflight import check

    findings = list(check(settings))
    if output is Output.JSON:
        print_json({"ok": all(f.ok for f in findings), "checks": [asdict(f) for f in findings]})
    else:
        rows = [
            {
                "check": f.check,
                "result": "ok" if f.ok else "FAILED",
                "said": f.said,
                "advice": f.advice,
            }
            for f in findings
        ]
        print_table(rows, empty="nothing to check")
    if not all(f.ok for f in findings):
        raise typer.Exit(_EXIT_FOUND)
