"""`offramp policy rebuild`: what people had set, and counters from the topics of predictions."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Final

import typer

from consumer.cli.common import (
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
    connected,
    emit,
    open_named,
    who,
)
from consumer.cli.route_common import ASKED

if TYPE_CHECKING:
    from consumer.settings import KafkaSettings, Settings
    from policy_state.backends.keeping import Restored
    from policy_state.backends.redis import RedisStore
    from policy_state.kept import Records
    from policy_state.store import PolicyMeta

_USES: Final = (*POLICY, *ASKED, "kafka.policy_topic", "model", "policy", "store")

REBUILD_EXAMPLES = """Examples:

`offramp policy rebuild`

`offramp policy rebuild --topic predictions.hotels --topic predictions.books`

`offramp policy rebuild --topic predictions --fresh --reason "counters were damaged" --yes`
"""


def add_to(app: typer.Typer) -> None:
    """Add the command to the group."""
    app.command("rebuild", epilog=REBUILD_EXAMPLES, rich_help_panel=MOVE)(rebuild)


def rebuild(
    topic: Annotated[
        list[str] | None,
        typer.Option("--topic", "-t", help="Topic of predictions; default: the routes' outputs."),
    ] = None,
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
    """Bring back what Redis has lost: what people had set, then counters from the predictions.

    Routes, settings, pins, freezes and audits come from the policy topic, and what was set since
    the loss stays. Name every topic that predictions of this policy's model go to, if the routes in
    force do not. Workers may run meanwhile: what they have counted stays, and they count on. Resets
    of the past are not repeated. A policy that is gone is created as the policy topic has it; where
    that has none, from the model and the settings.
    """
    settings = read_settings(
        config, set_, uses=_USES, kafka__bootstrap_servers=bootstrap_servers, policy__name=policy
    )
    with connected(config, redis_url, policy, set_, uses=_USES) as (store, name):
        from policy_state.backends.keeping import Keeping
        from policy_state.rebuilding import rebuild as rebuilt

        kept = _kept(settings.kafka)
        keeping = Keeping(store, group=settings.kafka.group, policy=name)
        found = store.find(name)
        meta = found or keeping.meta(kept) or _of_the_model(settings, store)
        what = "all counters are set to zero, then counted" if fresh else "what is missing is added"
        shown = ", ".join(map(printable, topic)) if topic else "the outputs of the routes"
        lines = [f"policy {printable(name)}: {what} from {shown}"]
        lines += [] if found else ["  it is gone, and is created again"]
        place = printable(settings.kafka.policy_topic)
        lines += [
            f"  {kind} and {changes} changes come back from {place}"
            for kind, changes in keeping.lost(kept).items()
        ]
        confirm("\n".join(lines), yes=yes)
        signed = {"by": who(by), "reason": reason}
        with changing():
            store.open(meta)
            restored = keeping.restore(kept, by=signed["by"], reason=reason)
        _say(restored)
        topics = topic or _outputs(settings, store)
        from consumer.rebuilding import PredictionLog

        with PredictionLog(
            settings.kafka, topics, fingerprint=meta.fingerprint, exits=meta.exits
        ) as log:
            if fresh:  # what is stored may be unreadable: nothing of it is looked at before
                log.committed(at_least={})  # tells of an absent group before anything is written
                with changing():
                    store.restart(**signed)
                typer.echo(
                    "all counters are at zero; if this fails, go on without --fresh", err=True
                )
            upto = log.committed(at_least=_counted(store))
            store.note("rebuild-begin", {"topics": topics, "fresh": fresh}, **signed)
            done = rebuilt(store, log.texts(), upto=upto)
        store.note("rebuild", {"counted": done.counted, "topics": topics}, **signed)
        row = asdict(done) | {"skipped_predictions": log.skipped}
        emit(
            output,
            "policy-rebuild",
            [row],
            rows_name="rebuilds",
            restored=asdict(restored),
        )
    if done.failed_offsets:
        typer.echo("workers counted some of it meanwhile: run it again", err=True)
        raise typer.Exit(EXIT_FOUND)


def _kept(kafka: KafkaSettings) -> Records:
    """Return what the policy topic has, nothing and a word on stderr where there is no topic."""
    from consumer.errors import TopicMissing
    from consumer.policy_topic import PolicyTopic

    try:
        return PolicyTopic(kafka).read()
    except TopicMissing as error:
        typer.echo(f"only counters can come back: {error}", err=True)
        return {}


def _of_the_model(settings: Settings, store: RedisStore) -> PolicyMeta:
    """Return the policy as the first worker would make it, where Redis has none at all.

    Raises:
        PolicyNotFound: there are others, so its name is a wrong one.
    """
    if store.policies():
        open_named(store, settings.policy.name)
    from consumer.wiring import load_engine, new_policy

    return new_policy(settings, load_engine(settings))


def _outputs(settings: Settings, store: RedisStore) -> list[str]:
    from consumer.route_watch import routes_in_force

    return sorted({route.output for route in routes_in_force(settings, store).routes})


def _say(restored: Restored) -> None:
    parts = [name for name in ("routes", "settings") if getattr(restored, name)]
    parts += [f"pins and freezes of {restored.domains} domains"] if restored.domains else []
    parts += [f"{restored.changes} changes of the audits"] if restored.changes else []
    if parts:
        typer.echo(f"brought back: {', '.join(parts)}", err=True)


def _counted(store: RedisStore) -> dict[str, int]:
    return {source: mark.upto for source, mark in store.watermarks().items()}
