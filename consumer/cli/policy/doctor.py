"""`offramp policy doctor`: checks what Redis holds of a policy."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import asdict, fields
from functools import partial
from typing import TYPE_CHECKING, Annotated, Final

import typer

from consumer.cli.commands import MOVE, Commands, without_effect
from consumer.cli.output import Output, OutputOption, emit, printable
from consumer.cli.route.in_force import known_routes
from consumer.cli.session import EXIT_FOUND, KAFKA, POLICY, ROUTES, OnPolicyAndKafka, Signed
from policy_state.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from consumer.kafka.group.offsets import KafkaState
    from consumer.settings.load import Settings
    from consumer.settings.sections import KafkaSettings
    from policy_state.health.findings import Finding
    from policy_state.store.redis.store import RedisStore

_EXIT_UNSEEN: Final = 1
_UNHEALTHY: Final = {
    False: "there are problems",
    True: "no problem found, but Kafka could not be checked; --no-log skips that check",
}

DOCTOR_EXAMPLES = """Examples:

`offramp policy doctor`

`offramp policy doctor --no-log -o json`

`offramp policy doctor --repair`
"""

app = Commands()


@app.command("doctor", epilog=DOCTOR_EXAMPLES, rich_help_panel=MOVE)
def doctor(
    ctx: typer.Context,
    given: OnPolicyAndKafka,
    log: Annotated[
        bool, typer.Option("--log/--no-log", help="Also compare with what Kafka holds.")
    ] = True,
    repair: Annotated[
        bool, typer.Option("--repair", help="First count texts that are predicted but not counted.")
    ] = False,
    topic: Annotated[
        list[str] | None,
        typer.Option(
            "--topic",
            "-t",
            metavar="TOPIC",
            help="Another topic of predictions to repair from; may be repeated.",
        ),
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Check what Redis holds of a policy, and name the command that fixes each problem.

    It checks that the counters of each domain agree with each other and with the totals, that every
    predicted text is counted, that nothing is counted that Kafka does not have, that no key is
    missing, that the policy topic holds pins, freezes, settings and routes, and that Redis deletes
    nothing when it is full.

    The exit code is 4 if there is a problem, and 1 if there is none but Kafka could not be checked.

    --repair counts missing texts from their predictions, each text once. Workers do the same within
    a minute.
    """
    if not log and not repair:
        without_effect(ctx, {"bootstrap_servers"}, "with --no-log")
    if not repair:
        without_effect(ctx, {"topic"}, "without --repair")
    with given.opened(*POLICY, *KAFKA, *ROUTES) as (settings, store):
        from policy_state.health.doctor import examine
        from policy_state.health.findings import Finding, Severity

        if repair:
            _repair(settings, store, topic or ())
        kafka, unseen = _kafka(settings.kafka) if log else (None, [])
        ends = None if kafka is None else kafka.ends
        committed = None if kafka is None else kafka.committed
        now_ms = time.time_ns() // 1_000_000
        examination = examine(store, ends=ends, committed=committed, now_ms=now_ms)
        around = list(_around(store, settings))
        if kafka is not None:
            from consumer.keeping.check import kept_findings

            around += kept_findings(settings, store, policy=store.describe().meta.name)
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
            log_checked=ends is not None,
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


def _broken_gates(store: RedisStore, settings: Settings) -> Iterator[tuple[str, str]]:
    from consumer.routes.route import promise_for
    from policy_state.reports.domain import broken_gates

    policy, routes = store.describe().meta.settings.gate, known_routes(settings, store)
    if policy or any(route.gate for route in routes):
        yield from broken_gates(store, partial(promise_for, routes, policy=policy))


def _around(store: RedisStore, settings: Settings) -> Iterator[Finding]:
    """Yield what is wrong beside the counters: broken gates, the group's routes, the servers."""
    from policy_state.errors import StoreCorrupt, StoreRefused
    from policy_state.health.findings import note, problem
    from policy_state.health.missing import eviction_findings, route_findings

    with suppress(StoreCorrupt):  # which has its finding already
        yield from (note("gate", name, warning) for name, warning in _broken_gates(store, settings))
    try:
        if settings.routes is None:
            yield from route_findings(store, settings.kafka.group)
    except StoreCorrupt as error:
        yield problem("routes", settings.kafka.group, str(error))
    try:
        yield from eviction_findings(store.evictions())
    except StoreRefused as error:
        yield note("memory", "redis", f"the maxmemory-policy cannot be read: {error}")


def _kafka(kafka: KafkaSettings) -> tuple[KafkaState | None, list[Finding]]:
    """Return the logs' ends and what is committed, or None and that Kafka cannot be asked."""
    from consumer.errors import StreamUnavailable
    from consumer.kafka.group.offsets import kafka_state
    from policy_state.health.findings import Finding, Severity

    def unseen(what: str) -> list[Finding]:
        return [Finding(Severity.UNKNOWN, "log", kafka.bootstrap_servers, what)]

    try:
        state = kafka_state(kafka)
    except StreamUnavailable as error:
        return None, unseen(f"the watermarks cannot be compared with Kafka: {error}")
    if state.committed is None:
        return state, unseen(f"Kafka does not say yet what group {kafka.group} has committed")
    return state, []


def _repair(settings: Settings, store: RedisStore, topics: Sequence[str]) -> None:
    """Count what is predicted and not counted, and say what came of it."""
    from consumer.kafka.predicted_to import former_routes, where_predicted
    from consumer.keeping.check import check_in_force
    from consumer.learning.repair import repair

    table = settings.group_routes.in_force(store)
    check_in_force(settings, store, table)
    former = former_routes(store, settings.kafka.group)
    where = where_predicted(settings, table.routes, former, named=topics)
    done = repair(settings.kafka, store, where)
    if done.offsets:
        detail = {"counted": done.counted, "offsets": done.offsets}
        store.note("repair", detail, by=Signed().who, reason="")
    typer.echo(
        f"repaired: {counted(done.counted, 'text')} counted, {counted(done.offsets, 'offset')}",
        err=True,
    )
    for source in done.left:
        typer.echo(
            f"{source}: predictions of texts that are not counted may be deleted, so nothing was "
            "counted; `offramp policy rebuild` counts the predictions that are left",
            err=True,
        )
