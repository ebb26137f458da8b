"""What the commands for routes and topics share: the routes in force, completion, what matches."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Final

import typer

from consumer.cli.common import KAFKA, printable, read_settings
from policy_state.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from consumer.kafka.topic_plan import Planned
    from consumer.kafka.topics import Cluster
    from consumer.routes.route import Route
    from consumer.routes.table import RouteTable
    from consumer.settings.load import Settings
    from consumer.settings.sections import KafkaSettings
    from policy_state.store.redis.store import RedisStore

ROUTES: Final = ("redis", "kafka.group", "kafka.dead_letters", "kafka.policy_topic", "routes")
"""The settings of a command that asks for the routes in force, for `read_settings`."""

ASKED: Final = (*ROUTES, *KAFKA)
"""The same where Kafka is asked, too."""
PARTITIONS = 12  # of topics that are created
OUTPUT_RETENTION = "30d"

_SHOWN = 10
_LOOK_S = 3.0

Group = Annotated[
    str | None, typer.Option("--group", "-g", help="Consumer group whose routes they are.")
]


@contextmanager
def route_store(
    config: Path | None,
    redis_url: str | None,
    group: str | None,
    set_: Sequence[str] | None,
    bootstrap_servers: str | None = None,
    *,
    uses: Sequence[str] = ASKED,
) -> Iterator[tuple[Settings, RedisStore]]:
    """Yield the settings and the store that they name; `uses` as in `read_settings`."""
    settings = read_settings(
        config,
        set_,
        uses=uses,
        redis__url=redis_url,
        kafka__group=group,
        kafka__bootstrap_servers=bootstrap_servers,
    )
    from consumer.opening import open_store

    with open_store(settings) as store:
        yield settings, store


def complete_route(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the names of routes that begin so."""
    from consumer.errors import ConsumerError
    from policy_state.errors import PolicyStateError

    given = ctx.params
    try:
        with route_store(given.get("config"), given.get("redis_url"), given.get("group"), None) as (
            settings,
            store,
        ):
            names = settings.group_routes.in_force(store).names
    except (ConsumerError, PolicyStateError):
        return []
    return [name for name in names if name.startswith(incomplete)]


RouteName = Annotated[
    str,
    typer.Argument(help="The route, as `route list` names it.", autocompletion=complete_route),
]


def shown_routes(settings: Settings, store: RedisStore) -> RouteTable:
    """Return the routes in force, to be shown; the built-in one only where it is no guess.

    Where Kafka does not answer that cannot be told, and is said on stderr.

    Raises:
        RoutesGone: the group had others, which Redis has lost.
    """
    table = settings.group_routes.in_force(store)
    if table.source != "built-in":
        return table
    from consumer.errors import StreamUnavailable
    from consumer.keeping.check import check_in_force

    quick = settings.kafka.model_copy(
        update={"request_timeout_s": min(_LOOK_S, settings.kafka.request_timeout_s)}
    )
    try:
        check_in_force(settings.model_copy(update={"kafka": quick}), store, table)
    except StreamUnavailable as error:
        typer.echo(f"whether Redis has lost other routes cannot be told: {error}", err=True)
    return table


def cluster_if_there(kafka: KafkaSettings) -> Cluster | None:
    """Return what Kafka has, or None, said on stderr, where it does not answer."""
    from consumer.errors import StreamUnavailable
    from consumer.kafka.topics import describe_cluster

    try:
        return describe_cluster(kafka, timeout_s=_LOOK_S)
    except StreamUnavailable as error:
        typer.echo(f"existing topics are not looked at: {error}", err=True)
        return None


def taken_by(table: RouteTable, route: Route, topics: Sequence[str]) -> list[str]:
    """Return the topics that the route is the first to match."""
    from consumer.routes.route import route_for

    return [topic for topic in sorted(topics) if route_for(table.routes, topic) is route]


def domain_said(route: Route, topic: str) -> str:
    """Return the domain of a topic's texts, or where it is read from."""
    from consumer.routes.pattern import domain_in

    kind, _, name = route.domain.partition(":")
    if kind == "topic":
        return domain_in(route.topics, topic) or topic
    return name if kind == "fixed" else route.domain


def listing(topics: Sequence[str]) -> str:
    """Return topics in one line, the first ones of many."""
    if not topics:
        return "none"
    more = f" and {len(topics) - _SHOWN} more" if len(topics) > _SHOWN else ""
    return ", ".join(map(printable, topics[:_SHOWN])) + more


def creation_said(plan: Planned) -> str:
    """Return a line about a topic that is to be created."""
    from consumer.cli.policy.common import span

    topic = plan.topic
    kept_ms = int(topic.configs["retention.ms"])
    kept = "compacted" if plan.role == "policy" else f"kept {span(kept_ms)}"
    return (
        f"  {printable(topic.name)} ({plan.role}): {counted(topic.partitions, 'partition')}, "
        f"{counted(topic.replication_factor, 'copy')}, "
        f"{topic.configs['min.insync.replicas']} in sync, {kept}"
    )
