"""`offramp policy doctor`: does what is stored hang together, and is it safe where it is."""

from __future__ import annotations

import time
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Annotated, Final

import typer

from consumer.cli.common import (
    KAFKA,
    POLICY,
    Bootstrap,
    Config,
    PolicyName,
    RedisUrl,
    SetRedis,
    printable,
    read_settings,
)
from consumer.cli.panels import MOVE
from consumer.cli.policy_common import EXIT_FOUND, Format, FormatOption, emit, opened_policy
from consumer.cli.route_common import ROUTES
from consumer.cli.together import without_effect
from policy_state.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from consumer.settings import KafkaSettings, Settings
    from policy_state.backends.redis import RedisStore
    from policy_state.doctor import Finding

DOCTOR_EXAMPLES = """Examples:

`offramp policy doctor`

`offramp policy doctor --no-log -o json`
"""

_EXIT_UNSEEN: Final = 1
_UNHEALTHY: Final = {
    False: "there are problems",
    True: "no problem found, but Kafka's logs could not be looked at; --no-log leaves them out",
}


def add_to(app: typer.Typer) -> None:
    """Add the command to the group."""
    app.command("doctor", epilog=DOCTOR_EXAMPLES, rich_help_panel=MOVE)(doctor)


def doctor(
    ctx: typer.Context,
    log: Annotated[
        bool, typer.Option("--log/--no-log", help="Hold watermarks against Kafka's logs too.")
    ] = True,
    config: Config = None,
    bootstrap_servers: Bootstrap = None,
    redis_url: RedisUrl = None,
    policy: PolicyName = None,
    set_: SetRedis = None,
    output: FormatOption = Format.TABLE,
) -> None:
    """Check a policy: counters, index, ledger, watermarks, keys that went missing, Redis itself.

    Exit code 4 where there is a problem, 1 where there is none but Kafka's logs could not be seen.

    n falls with depth, d is at most n, texts that stopped add up to those that computed exit 0,
    every listed domain is there, the sums over all domains agree with the domains, nothing is
    counted that Kafka has not, no key went missing, and Redis deletes none when it is full. What is
    found says which command mends it.
    """
    if not log:
        without_effect(ctx, {"bootstrap_servers"}, "with --no-log")
    uses = (*POLICY, *KAFKA, *ROUTES)
    settings = read_settings(config, set_, uses=uses, kafka__bootstrap_servers=bootstrap_servers)
    with opened_policy(config, redis_url, policy, set_, uses=uses) as store:
        from policy_state.doctor import Finding, Severity, examine

        logs, unseen = _logs(settings.kafka) if log else (None, [])
        examination = examine(store, logs=logs, now_ms=time.time_ns() // 1_000_000)
        around = list(_around(store, settings))
        sound = examination.healthy and all(f.severity is not Severity.PROBLEM for f in around)
        healthy = sound and not unseen
        emit(
            output,
            "policy-doctor",
            [asdict(finding) for finding in (*examination.findings, *around, *unseen)],
            rows_name="findings",
            empty="nothing found",
            columns=[field.name for field in fields(Finding)],
            healthy=healthy,
            domains=examination.domains,
            texts=examination.texts,
            partitions=examination.partitions,
            log_checked=logs is not None,
        )
        typer.echo(
            f"{counted(examination.domains, 'domain')}, {counted(examination.texts, 'text')}, "
            f"{counted(examination.partitions, 'partition')}: "
            + ("healthy" if healthy else _UNHEALTHY[sound]),
            err=True,
        )
        for name, why in store.unreadable_policies().items():
            typer.echo(
                f"another policy, {printable(name)}, cannot be read: {printable(why)}", err=True
            )
    if not healthy:
        raise typer.Exit(_EXIT_UNSEEN if sound else EXIT_FOUND)


def _logs(kafka: KafkaSettings) -> tuple[Mapping[str, tuple[int, int]] | None, list[Finding]]:
    """Return the ends of the logs, or None and that they cannot be looked at."""
    from consumer.errors import StreamUnavailable
    from consumer.rebuilding import log_ranges
    from policy_state.doctor import Finding, Severity

    try:
        return log_ranges(kafka), []
    except StreamUnavailable as error:
        text = f"watermarks are not held against Kafka's logs: {error}"
        return None, [Finding(Severity.UNKNOWN, "log", kafka.bootstrap_servers, text)]


def _around(store: RedisStore, settings: Settings) -> Iterator[Finding]:
    """Yield what is wrong beside the policy: the routes of the group, the servers themselves."""
    from policy_state.errors import StoreCorrupt, StoreRefused
    from policy_state.findings import note, problem
    from policy_state.missing import eviction_findings, route_findings

    try:
        if settings.routes is None:
            yield from route_findings(store, settings.kafka.group)
    except StoreCorrupt as error:
        yield problem("routes", settings.kafka.group, str(error))
    try:
        yield from eviction_findings(store.evictions())
    except StoreRefused as error:
        yield note("memory", "redis", f"what it does when it is full may not be asked: {error}")
