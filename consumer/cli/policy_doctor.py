"""`offramp policy doctor`: is it sound, and is all counted that was predicted."""

from __future__ import annotations

from dataclasses import asdict, fields, replace
from typing import TYPE_CHECKING, Annotated, Final

import typer

from consumer.cli.common import (
    KAFKA,
    POLICY,
    Bootstrap,
    Config,
    PolicyName,
    RedisUrl,
    Set,
    printable,
    read_settings,
)
from consumer.cli.panels import MOVE
from consumer.cli.policy_common import (
    EXIT_FOUND,
    Format,
    FormatOption,
    emit,
    opened_policy,
    who,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from consumer.rebuilding import KafkaState
    from consumer.settings import KafkaSettings, Settings
    from policy_state.backends.redis import RedisStore
    from policy_state.doctor import Finding

_EXIT_UNSEEN: Final = 1
_UNHEALTHY: Final = {
    False: "there are problems",
    True: "no problem found, but Kafka's logs could not be looked at; --no-log leaves them out",
}

DOCTOR_EXAMPLES = """Examples:

`offramp policy doctor`

`offramp policy doctor --no-log -o json`

`offramp policy doctor --repair`
"""


def add_to(app: typer.Typer) -> None:
    """Add the command to the group."""
    app.command("doctor", epilog=DOCTOR_EXAMPLES, rich_help_panel=MOVE)(doctor)


def doctor(
    log: Annotated[
        bool, typer.Option("--log/--no-log", help="Hold watermarks against Kafka's logs too.")
    ] = True,
    repair: Annotated[
        bool, typer.Option("--repair", help="Count first what is predicted and not counted.")
    ] = False,
    topic: Annotated[
        list[str] | None,
        typer.Option(
            "--topic", "-t", help="Topic of predictions to repair from, beside the routes'."
        ),
    ] = None,
    config: Config = None,
    bootstrap_servers: Bootstrap = None,
    redis_url: RedisUrl = None,
    policy: PolicyName = None,
    set_: Set = None,
    output: FormatOption = Format.TABLE,
) -> None:
    """Check a policy: counters, index, ledger, watermarks.

    Exit code 4 where there is a problem, 1 where there is none but Kafka's logs could not be seen.

    n falls with depth, d is at most n, texts that stopped add up to those that computed exit 0,
    every listed domain is there, the sums over all domains agree with the domains, nothing is
    counted that Kafka has not, all that the group has committed is counted, and the policy topic
    has what people have set.

    --repair counts what is missing from the predictions, as workers do by themselves in a minute,
    each text once whoever else counts it; it reads as far back as it has to.
    """
    uses = (*POLICY, *KAFKA, "kafka.group", "kafka.policy_topic", "routes")
    settings = read_settings(config, set_, uses=uses, kafka__bootstrap_servers=bootstrap_servers)
    with opened_policy(config, redis_url, policy, set_, uses=uses) as store:
        from policy_state.doctor import Finding, examine

        if repair:
            _repair(settings, store, topic or ())
        kafka, unseen = _kafka(settings.kafka) if log else (None, [])
        logs = None if kafka is None else kafka.logs
        committed = None if kafka is None else kafka.committed
        examination = examine(store, logs=logs, committed=committed)
        if kafka is not None:
            from consumer.kept_check import kept_findings

            kept = kept_findings(settings, store, policy=store.describe().meta.name)
            examination = replace(examination, findings=(*examination.findings, *kept))
        healthy = examination.healthy and not unseen
        emit(
            output,
            "policy-doctor",
            [asdict(finding) for finding in (*examination.findings, *unseen)],
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
            f"{examination.domains} domains, {examination.texts} texts, "
            f"{examination.partitions} partitions: "
            + ("healthy" if healthy else _UNHEALTHY[examination.healthy]),
            err=True,
        )
        for name, why in store.unreadable_policies().items():
            typer.echo(
                f"another policy, {printable(name)}, cannot be read: {printable(why)}", err=True
            )
    if not healthy:
        raise typer.Exit(_EXIT_UNSEEN if examination.healthy else EXIT_FOUND)


def _kafka(kafka: KafkaSettings) -> tuple[KafkaState | None, list[Finding]]:
    """Return the logs and what is committed, or None and that they cannot be looked at."""
    from consumer.errors import StreamUnavailable
    from consumer.rebuilding import kafka_state
    from policy_state.doctor import Finding, Severity

    def unseen(what: str) -> list[Finding]:
        return [Finding(Severity.UNKNOWN, "log", kafka.bootstrap_servers, what)]

    try:
        state = kafka_state(kafka)
    except StreamUnavailable as error:
        return None, unseen(f"watermarks are not held against Kafka's logs: {error}")
    if state.committed is None:
        return state, unseen(f"what group {kafka.group} has committed cannot be told yet")
    return state, []


def _repair(settings: Settings, store: RedisStore, topics: Sequence[str]) -> None:
    """Count what is predicted and not counted, and say what came of it."""
    from consumer.repairing import repair
    from consumer.repairs import existing
    from consumer.route_watch import routes_in_force

    outputs = {route.output for route in routes_in_force(settings, store).routes}
    done = repair(settings.kafka, store, existing(settings, {*outputs, *topics}))
    if done.offsets:
        detail = {"counted": done.counted, "offsets": done.offsets}
        store.note("repair", detail, by=who(None), reason="")
    typer.echo(f"repaired: {done.counted} texts counted, {done.offsets} offsets", err=True)
    for source in done.left:
        typer.echo(
            f"{source}: predictions of what is not counted may be gone, so nothing was counted; "
            "`offramp policy rebuild --topic ..` counts those that are left",
            err=True,
        )
