"""`offramp policy rebuild`: counters from the topics of predictions."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

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
    By,
    Format,
    FormatOption,
    Reason,
    Yes,
    changing,
    confirm,
    emit,
    opened_policy,
    who,
)

if TYPE_CHECKING:
    from policy_state.backends.redis import RedisStore

REBUILD_EXAMPLES = """Examples:

`offramp policy rebuild --topic predictions.hotels --topic predictions.books`

`offramp policy rebuild --topic predictions --fresh --reason "counters were damaged" --yes`
"""


def add_to(app: typer.Typer) -> None:
    """Add the command to the group."""
    app.command("rebuild", epilog=REBUILD_EXAMPLES, rich_help_panel=MOVE)(rebuild)


def rebuild(
    topic: Annotated[list[str], typer.Option("--topic", "-t", help="Topic of predictions.")],
    fresh: Annotated[bool, typer.Option("--fresh", help="Set all counters to zero first.")] = False,
    config: Config = None,
    bootstrap_servers: Bootstrap = None,
    redis_url: RedisUrl = None,
    policy: PolicyName = None,
    reason: Reason = "",
    by: By = None,
    yes: Yes = False,
    set_: Set = None,
    output: FormatOption = Format.TABLE,
) -> None:
    """Count from the predictions what the policy has not counted: after Redis lost its data.

    Name every topic that predictions of this policy's model go to. Workers may run meanwhile: what
    they have counted stays, and they count on. Resets of the past are not repeated. Where Redis
    lost the policy itself, start a worker first, or import an export: it creates the policy.
    """
    uses = (*POLICY, *KAFKA, "kafka.group")
    settings = read_settings(config, set_, uses=uses, kafka__bootstrap_servers=bootstrap_servers)
    with opened_policy(config, redis_url, policy, set_, uses=uses) as store:
        from policy_state.rebuilding import rebuild as rebuilt

        meta = store.describe().meta
        what = "all counters are set to zero, then counted" if fresh else "what is missing is added"
        topics = ", ".join(map(printable, topic))
        confirm(f"policy {printable(meta.name)}: {what} from {topics}", yes=yes)
        from consumer.rebuilding import PredictionLog

        signed = {"by": who(by), "reason": reason}
        with PredictionLog(
            settings.kafka, topic, fingerprint=meta.fingerprint, exits=meta.exits
        ) as log:
            if fresh:  # what is stored may be unreadable: nothing of it is looked at before
                log.committed(at_least={})  # tells of an absent group before anything is written
                with changing():
                    store.restart(**signed)
                typer.echo(
                    "all counters are at zero; if this fails, go on without --fresh", err=True
                )
            upto = log.committed(at_least=_counted(store))
            store.note("rebuild-begin", {"topics": topic, "fresh": fresh}, **signed)
            done = rebuilt(store, log.texts(), upto=upto)
        store.note("rebuild", {"counted": done.counted, "topics": topic}, **signed)
        row = asdict(done) | {"skipped_predictions": log.skipped}
        emit(output, "policy-rebuild", [row], rows_name="rebuilds")
    if done.failed_offsets:
        typer.echo("workers counted some of it meanwhile: run it again", err=True)
        raise typer.Exit(EXIT_FOUND)


def _counted(store: RedisStore) -> dict[str, int]:
    return {source: mark.upto for source, mark in store.watermarks().items()}
