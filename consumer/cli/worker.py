"""`offramp worker`: runs a worker until it is told to stop."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from consumer.cli.commands import without_effect
from consumer.cli.options import Bootstrap, LogLevel, LogLevelOption, RedisUrl
from consumer.cli.output import Output, OutputOption, print_data
from consumer.cli.session import EXIT_FOUND, Given

if TYPE_CHECKING:
    from consumer.settings.load import Settings

_OF_SUPERVISOR = "instance="  # of --processes, which gives each worker another one


EXAMPLES = """Examples:

`offramp worker --bootstrap-servers localhost:9092 --redis-url redis://localhost:6379/0`

`offramp worker --config offramp.toml --instance worker-0`

`OFFRAMP_MODEL__PATH=/models/reviews offramp worker --set batch.max_events=64`

`offramp worker --config offramp.toml --processes 4`

`offramp worker --config offramp.toml --check`

`offramp worker --config offramp.toml --check --wait`
"""


@dataclass(frozen=True, kw_only=True)
class OfWorker(Given):
    """A worker's options for single settings."""

    shown_last = False
    bootstrap_servers: Bootstrap = None
    redis_url: RedisUrl = None
    group: Annotated[
        str | None, typer.Option("--group", "-g", help="Consumer group that the worker joins.")
    ] = None
    instance: Annotated[
        str | None,
        typer.Option(help="Name of this worker, unique in its group; keep it across restarts."),
    ] = None
    model: Annotated[
        Path | None, typer.Option("--model", "-m", metavar="FOLDER", help="Model folder.")
    ] = None


def worker(
    ctx: typer.Context,
    given: OfWorker,
    processes: Annotated[
        int,
        typer.Option(
            min=1,
            max=1000,
            help="Run this many workers, named INSTANCE-0, INSTANCE-1, ...",
        ),
    ] = 1,
    check: Annotated[
        bool, typer.Option("--check", help="Check everything a worker needs, then end.")
    ] = False,
    wait: Annotated[
        bool,
        typer.Option("--wait", help="With --check, wait for services that are unreachable."),
    ] = False,
    log_level: LogLevelOption = LogLevel.INFO,
    report_fd: Annotated[
        int | None, typer.Option(hidden=True, min=3, max=1 << 20, help="Pipe to the supervisor.")
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Read texts, write predictions and learn one exit per domain.

    The workers of one group share the partitions and learn together through Redis.

    On SIGTERM or Ctrl-C a worker finishes its batch, commits it and ends with exit code 0. A second
    signal ends it at once. If it is back within kafka.session_timeout_s, it gets the same
    partitions again; otherwise the other workers take them.

    While Redis or Kafka is unreachable, the worker waits. A wrong password, a wrong model, a
    missing right or lost routes end it at once, with an error. With --processes, a worker that ends
    unexpectedly is started again.

    --check tests the model, Redis, Kafka, the topics and the rights. It changes nothing, and ends
    with exit code 4 if something is wrong. A service that is unreachable fails its check at once.
    With --wait, as in an init container, the check first waits for each service as long as a worker
    does, up to worker.give_up_s.
    """
    if check:
        without_effect(ctx, {"processes", "log_level"}, "with --check")
    else:
        without_effect(ctx, {"output", "wait"}, "without --check")
    settings = given.settings()
    if check:
        _check(settings, output, wait=wait)
        return
    if processes == 1:
        from consumer.worker.run import run_worker

        run_worker(settings, log_level=log_level, report_fd=report_fd)
        return
    if find_spec("torch") is None:  # else each worker would end at once and be started again
        raise ModuleNotFoundError(name="torch")
    from consumer.process.supervisor import run_supervisor

    options = {
        "--config": given.config,
        "--bootstrap-servers": given.bootstrap_servers,
        "--group": given.group,
        "--redis-url": given.redis_url,
        "--model": given.model,
        "--log-level": log_level,
    }
    words = [f"{name}={value}" for name, value in options.items() if value is not None]
    words += [f"--set={each}" for each in given.set_ or () if not each.startswith(_OF_SUPERVISOR)]
    code = run_supervisor(["worker", *words], processes=processes, settings=settings)
    raise typer.Exit(code)


def _check(settings: Settings, output: Output, *, wait: bool) -> None:
    from dataclasses import asdict

    from consumer.worker.preflight import check, wait_for_services

    if wait:
        from consumer.process.log_lines import log_to_stderr

        log_to_stderr("warning", form=settings.log.format, instance=settings.instance)
        wait_for_services(settings)
    findings = list(check(settings))
    rows = [
        {"check": f.check, "result": "ok" if f.ok else "FAILED", "said": f.said, "advice": f.advice}
        for f in findings
    ]
    data = {"ok": all(f.ok for f in findings), "checks": [asdict(f) for f in findings]}
    print_data(output, data, rows, empty="nothing to check")
    if not all(f.ok for f in findings):
        raise typer.Exit(EXIT_FOUND)
