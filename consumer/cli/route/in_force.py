"""The routes in force: named, completed, shown, and what they mean for topics and domains."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from consumer.cli.output import printable, span
from consumer.cli.session import OnRoutes
from policy_state.wording import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from consumer.kafka.topic_plan import Planned
    from consumer.kafka.topics import Cluster
    from consumer.routes.route import Route
    from consumer.routes.table import RouteTable
    from consumer.settings.load import Settings
    from consumer.settings.sections import KafkaSettings
    from policy_state.store.reading import Reading
    from policy_state.store.redis.store import RedisStore
    from policy_state.store.values import PolicyMeta

PARTITIONS: Final = 12  # of topics that are created
OUTPUT_RETENTION: Final = "30d"

_SHOWN: Final = 10
_LOOK_S: Final = 3.0


def as_row(route: Route) -> dict[str, Any]:
    """Return a route as a row of a table."""
    return {
        "name": route.name,
        "topics": route.topics,
        "domain": route.domain,
        "output": route.output,
        "cost_weight": route.cost_weight,
        "gate": route.gate,
    }


def complete_route(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the names of routes that begin so."""
    from consumer.errors import ConsumerError
    from policy_state.errors import PolicyStateError

    try:
        with OnRoutes.of(ctx).store() as (settings, store):
            names = settings.group_routes.in_force(store).names
    except (ConsumerError, PolicyStateError):
        return []
    return [name for name in names if name.startswith(incomplete)]


RouteName = Annotated[
    str,
    typer.Argument(help="Name of the route, as in `route list`.", autocompletion=complete_route),
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
        typer.echo(f"cannot check whether Redis has lost routes: {error}", err=True)
    return table


def cluster_if_there(kafka: KafkaSettings) -> Cluster | None:
    """Return what Kafka has, or None, said on stderr, where it does not answer."""
    from consumer.errors import StreamUnavailable
    from consumer.kafka.topics import describe_cluster

    try:
        return describe_cluster(kafka, timeout_s=_LOOK_S)
    except StreamUnavailable as error:
        typer.echo(f"existing topics are not checked: {error}", err=True)
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
    topic = plan.topic
    kept_ms = int(topic.configs["retention.ms"])
    kept = "compacted" if plan.role == "policy" else f"kept {span(kept_ms)}"
    return (
        f"  {printable(topic.name)} ({plan.role}): {counted(topic.partitions, 'partition')}, "
        f"{counted(topic.replication_factor, 'copy')}, "
        f"{topic.configs['min.insync.replicas']} in sync, {kept}"
    )


def known_routes(settings: Settings, store: RedisStore) -> tuple[Route, ...]:
    """Return the routes in force, none where they cannot be told."""
    from consumer.errors import InvalidRoute

    try:
        return tuple(settings.group_routes.in_force(store).routes)
    except InvalidRoute:
        return ()  # `offramp route list` tells


def gated(meta: PolicyMeta, routes: Sequence[Route], domain: str) -> PolicyMeta:
    """Return the policy with the gate that the routes to a domain set."""
    from consumer.routes.route import promise_for

    promise = promise_for(routes, domain, policy=meta.settings.gate)
    return replace(meta, settings=replace(meta.settings, gate=promise))


def exits_by_route(routes: Sequence[Route], domain: str, reading: Reading) -> list[dict[str, Any]]:
    """Return the exit of a domain's texts by each route to it that has its own cost weight."""
    from consumer.routes.route import may_get
    from policy_state.algorithms.base import build
    from policy_state.reports.domain import exit_of

    meta, found = reading.opened.meta, []
    for route in routes:
        if route.cost_weight is None or not may_get(routes, route, domain):
            continue
        settings = replace(meta.settings, cost_weight=route.cost_weight)
        policy = build(settings, meta.layers, credits=meta.calibrated)
        best = exit_of(reading.snapshots[domain], policy, pool=reading.pool)
        found.append(
            {
                "route": route.name,
                "cost_weight": route.cost_weight,
                "exit": best,
                "layer": meta.layers[best],
            }
        )
    return found


def in_words(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return them as lines."""
    return [
        f"by route {row['route']}, cost weight {row['cost_weight']:g}: "
        f"exit {row['exit']} (layer {row['layer']})"
        for row in rows
    ]
