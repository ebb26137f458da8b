"""The topics that a group reads and writes, and those that no route reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from consumer.kafka.topic_plan import named_topics
from consumer.routes.route import route_for

if TYPE_CHECKING:
    from consumer.kafka.group.overview import GroupOverview
    from consumer.kafka.topic_plan import Role
    from consumer.routes.route import Route
    from consumer.routes.table import RouteTable
    from consumer.settings.sections import KafkaSettings


@dataclass(frozen=True, slots=True)
class TopicRow:
    """A topic of a group. Lag and deleted are None unless it is an input that exists."""

    topic: str
    role: Role
    state: str  # ready or missing
    partitions: int | None
    lag: int | None  # records that the group has not committed yet and can still read
    deleted: int | None  # records that retention took before the group read them
    route: str | None  # of an output those that write to it, with commas between


def input_routes(table: RouteTable, overview: GroupOverview) -> dict[str, Route]:
    """Return the route of each input: of those that exist, and of those that a route names."""
    named = [name for route in table.routes for name in named_topics(route.topics)]
    found = {name: route_for(table.routes, name) for name in [*sorted(overview.partitions), *named]}
    return {name: route for name, route in found.items() if route is not None}


def topic_rows(kafka: KafkaSettings, table: RouteTable, overview: GroupOverview) -> list[TopicRow]:
    """Return inputs, outputs, the dead-letter topic and the policy topic of a group."""

    def row(name: str, role: Role, route: str | None) -> TopicRow:
        partitions, lag = overview.partitions.get(name), overview.topic_lag(name)
        return TopicRow(
            name,
            role,
            "missing" if partitions is None else "ready",
            partitions,
            lag.behind if lag and role == "input" else None,
            lag.deleted if lag and role == "input" else None,
            route,
        )

    rows = [row(name, "input", route.name) for name, route in input_routes(table, overview).items()]
    for name in dict.fromkeys(route.output for route in table.routes):
        names = ",".join(route.name or "" for route in table.routes if route.output == name)
        rows.append(row(name, "output", names))
    rows.append(row(kafka.dead_letters, "dead-letter", None))
    rows.append(row(kafka.policy_topic, "policy", None))
    return rows


def unrouted_topics(kafka: KafkaSettings, table: RouteTable, overview: GroupOverview) -> list[str]:
    """Return the existing topics that no route reads and no worker writes."""
    known = {row.topic for row in topic_rows(kafka, table, overview)}
    return sorted(overview.partitions.keys() - known)
