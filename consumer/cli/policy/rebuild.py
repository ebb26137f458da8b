"""`offramp policy rebuild`: what people had set, and counters from the topics of predictions."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Annotated, Final

import typer

from consumer.cli.commands import MOVE, Commands
from consumer.cli.output import Output, OutputOption, emit, printable
from consumer.cli.route.in_force import listing
from consumer.cli.session import (
    EXIT_FOUND,
    KAFKA,
    POLICY,
    ROUTES,
    OnPolicyAndKafka,
    Signed,
    changing,
    confirm,
    open_named,
)
from policy_state.wording import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from consumer.learning.prediction_log import PredictionLog
    from consumer.routes.route import Route
    from consumer.settings.load import Settings
    from consumer.settings.sections import KafkaSettings
    from policy_state.health.rebuild import Loss
    from policy_state.store.kept import Records
    from policy_state.store.redis.keeping import Restored
    from policy_state.store.redis.store import RedisStore
    from policy_state.store.values import PolicyMeta

_USES: Final = (*POLICY, *ROUTES, *KAFKA, "kafka.policy_topic", "model", "policy", "store")

REBUILD_EXAMPLES = """Examples:

`offramp policy rebuild`

`offramp policy rebuild --fresh --reason "counters were damaged" --yes`

`offramp policy rebuild --topic predictions.hotels --topic predictions.books`
"""

_NAMED: Final = 10

app = Commands()


@app.command("rebuild", epilog=REBUILD_EXAMPLES, rich_help_panel=MOVE)
def rebuild(
    given: OnPolicyAndKafka,
    signed: Signed,
    topic: Annotated[
        list[str] | None,
        typer.Option(
            "--topic",
            "-t",
            metavar="TOPIC",
            help="Topic of predictions; default: outputs of all present and former routes.",
        ),
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="First set all counters to zero.")] = False,
    drop_unseen: Annotated[
        bool,
        typer.Option(
            "--drop-unseen", help="With --fresh: also forget counts without a prediction."
        ),
    ] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Restore what Redis has lost: settings and pins first, then the counters.

    Routes, settings, pins, freezes and audits come from the policy topic. Changes made since the
    loss stay. Counters are counted from the predictions in the outputs of all routes, including
    removed routes. If predictions of this policy went to other topics, name all topics with
    --topic.

    Workers may run meanwhile. Earlier resets are not repeated. A policy that is gone is created
    again from the policy topic, or else from the model and the settings.

    --fresh reads all predictions twice: before it sets anything to zero, it checks that there is a
    prediction for every text that was counted.
    """
    with given.store(*_USES) as (settings, store):
        name = settings.policy.name
        from policy_state.health.rebuild import checked_marks
        from policy_state.health.rebuild import rebuild as rebuilt
        from policy_state.store.redis.keeping import Keeping

        if found := store.find(name):
            store.open(found)
            if not fresh:
                checked_marks(store)
        kept = _kept(settings.kafka)
        keeping = Keeping(store, group=settings.kafka.group, policy=name)
        lost = keeping.lost(kept)
        meta = found or keeping.meta(kept) or _of_the_model(settings, store)
        what = "all counters are set to zero, then counted" if fresh else "what is missing is added"
        topics, left_out = ([], []) if "routes" in lost else _topics(store, settings, topic)
        shown = (
            listing(topic or topics) if topic or topics else "the outputs of the restored routes"
        )
        lines = [f"policy {printable(name)}: {what} from {shown}"]
        if left_out:
            lines.append(f"  beware: routes write to {listing(left_out)}, too, which is left out")
        lines += [] if found else ["  it is gone, and is created again"]
        policy_topic = printable(settings.kafka.policy_topic)
        lines += [
            f"  {kind} and {counted(changes, 'change')} come back from {policy_topic}"
            for kind, changes in lost.items()
        ]
        confirm("\n".join(lines), yes=signed.yes)
        who, reason = signed.who, signed.reason
        with changing():
            store.open(meta)
            restored = keeping.restore(kept, by=who, reason=reason)
        _say(restored)
        topics = topics or _topics(store, settings, topic)[0]
        from consumer.learning.prediction_log import PredictionLog

        read = partial(
            PredictionLog, settings.kafka, topics, fingerprint=meta.fingerprint, exits=meta.exits
        )
        if fresh:
            with read() as log:
                log.committed(at_least={})  # raises for a missing group before anything is read
                _check_losses(store, log, topics, drop=drop_unseen)
        with read() as log:
            if fresh:
                _restart(store, by=who, reason=reason)
            upto = log.committed(at_least=_counted(store))
            begun = {"topics": topics, "fresh": fresh}
            store.note("rebuild-begin", begun, by=who, reason=reason)
            done = rebuilt(store, log.texts(), upto=upto)
        ended = {"counted": done.counted, "topics": topics}
        store.note("rebuild", ended, by=who, reason=reason)
        row = asdict(done) | {"skipped_predictions": log.skipped}
        emit(
            output,
            "policy-rebuild",
            [row],
            rows_name="rebuilds",
            restored=asdict(restored),
        )
    if done.failed_offsets:
        typer.echo("workers counted some of these texts meanwhile: run it again", err=True)
        raise typer.Exit(EXIT_FOUND)


def _restart(store: RedisStore, *, by: str, reason: str) -> None:
    with changing():
        store.restart(by=by, reason=reason)
    said = "all counters are set to zero; if this fails, run it again without --fresh"
    typer.echo(said, err=True)


def _topics(
    store: RedisStore, settings: Settings, named: Sequence[str] | None
) -> tuple[list[str], list[str]]:
    """Return the topics to read, and outputs of routes, now or before, that are not among them.

    Raises:
        InvalidSettings: none are named, and no route's output exists.
        InvalidRoute, RoutesGone: none are named, and the routes cannot be told.
    """
    from consumer.errors import InvalidRoute, InvalidSettings
    from consumer.kafka.predicted_to import former_routes, where_predicted
    from consumer.keeping.check import check_in_force

    try:
        table = settings.group_routes.in_force(store)
    except InvalidRoute:
        if not named:
            raise
        routes: Sequence[Route] = ()
    else:
        routes = table.routes
        if not named:
            check_in_force(settings, store, table)
    where = where_predicted(settings, routes, former_routes(store, settings.kafka.group))
    if named:
        return list(dict.fromkeys(named)), [topic for topic in where.topics if topic not in named]
    if not where.topics:
        outputs = list(dict.fromkeys(route.output for route in routes))
        raise InvalidSettings(
            f"group {settings.kafka.group}: no output of a route exists ({listing(outputs)}); name "
            "the topics of predictions with --topic"
        )
    if where.gone:
        gone = list(dict.fromkeys(route.output for route in where.gone))
        typer.echo(f"beware: predictions may have gone to {listing(gone)}, now deleted", err=True)
    return list(where.topics), []


def _check_losses(
    store: RedisStore, log: PredictionLog, topics: Sequence[str], *, drop: bool
) -> None:
    """Raise where counters would go that no prediction brings back, unless that is wanted.

    That a domain would shrink is only told where retention, and texts that are not committed yet,
    may be all that is missing.
    """
    from consumer.errors import InvalidSettings
    from policy_state.errors import StoreCorrupt
    from policy_state.health.rebuild import counted_texts, found_texts, losses

    # What is counted is asked for first, and its commits waited for: its predictions are there.
    held = counted_texts(store)
    try:
        marks = _counted(store)
    except StoreCorrupt:  # a fresh count replaces them, and no worker counts until then
        marks = {}
    committed = log.committed(at_least=marks)
    ahead = sum(
        max(0, marks.get(f"{topic_id}/{number}", 0) - offset)
        for (topic_id, number), offset in committed.items()
    )
    lost = losses(held, found_texts(log.texts()))
    if not lost:
        return
    texts = sum(loss.texts for loss in lost.values())
    deleted = sum(first for first, _ in log.ends().values())
    worst = sorted(lost, key=lambda name: (lost[name].found > 0, -lost[name].texts, name))
    shown = [f"{printable(name)} ({_numbers(lost[name])})" for name in worst[:_NAMED]]
    more = f" and {len(worst) - _NAMED} more" if len(worst) > _NAMED else ""
    what = (
        f"{counted(len(lost), 'domain has', 'domains have')} counted "
        f"{counted(texts, 'text')} more than predictions in {listing(topics)} "
        f"show: {', '.join(shown)}{more}; retention deleted at most {deleted} records there"
    )
    if drop:
        typer.echo(f"forgotten: {what}", err=True)
    elif all(loss.found for loss in lost.values()) and texts <= deleted + ahead:
        typer.echo(f"beware: {what}", err=True)
    else:
        raise InvalidSettings(
            f"{what}; nothing was changed. Name all topics that hold their predictions, or use "
            "--drop-unseen to forget texts without one, such as imported ones"
        )


def _numbers(loss: Loss) -> str:
    counted = "a record that cannot be read" if loss.counted is None else f"{loss.counted} counted"
    return f"{counted}, {loss.found} found"


def _kept(kafka: KafkaSettings) -> Records:
    """Return what the policy topic has, nothing and a word on stderr where there is no topic."""
    from consumer.errors import TopicMissing
    from consumer.keeping.policy_topic import PolicyTopic

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
    from consumer.opening import load_engine, new_policy

    return new_policy(settings, load_engine(settings))


def _say(restored: Restored) -> None:
    parts = [name for name in ("routes", "settings") if getattr(restored, name)]
    parts += (
        [f"pins and freezes of {counted(restored.domains, 'domain')}"] if restored.domains else []
    )
    parts += [f"{counted(restored.changes, 'change')} of the audits"] if restored.changes else []
    if parts:
        typer.echo(f"brought back: {', '.join(parts)}", err=True)


def _counted(store: RedisStore) -> dict[str, int]:
    return {source: mark.upto for source, mark in store.watermarks().items()}
