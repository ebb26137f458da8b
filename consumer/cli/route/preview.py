"""What a change of routes would do, in lines for the person who is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from consumer.cli.output import duration_ms, printable
from consumer.cli.route.in_force import (
    OUTPUT_RETENTION,
    PARTITIONS,
    creation_said,
    listing,
    taken_by,
)

if TYPE_CHECKING:
    from consumer.kafka.topic_plan import Planned
    from consumer.kafka.topics import Cluster
    from consumer.routes.route import Route
    from consumer.routes.table import RouteTable
    from consumer.settings.load import Settings
    from consumer.settings.sections import KafkaSettings

_OPTIONAL: Final = frozenset({"cost_weight", "gate"})
_DOMAIN_SAID: Final = {
    "topic": "what the group `domain` of the pattern matches, or else the name of the topic",
    "field": "the field {} of each text's JSON",
    "header": "the header {} of each record",
    "fixed": "{}",
}


def title(settings: Settings, route: Route, verb: str) -> str:
    """Return what the change does to which group, and whether it has an effect."""
    said = f"group {printable(settings.kafka.group)}: {verb} route {route.name}"
    if settings.routes is None:
        return said
    return f"{said}\n  beware: these settings give routes; workers with them use no others"


def described(route: Route, old: Route | None) -> list[str]:
    """Return each value of a route, and what it was if it replaces another."""
    kind, _, name = route.domain.partition(":")
    now = route.model_dump() | {"domain": _DOMAIN_SAID[kind].format(name)}
    before = {} if old is None else old.model_dump()
    lines = []
    for field, value in now.items():
        if field == "name" or (field in _OPTIONAL and value is None and old is None):
            continue
        said = "the policy's" if value is None else printable(value)
        changed = old is not None and before[field] != getattr(route, field)
        was = f" (was {printable(before[field])})" if changed else ""
        lines.append(f"  {field.replace('_', ' ')}: {said}{was}")
    return lines


def topics_now(table: RouteTable, route: Route, cluster: Cluster) -> list[str]:
    """Return which of the topics that exist the route takes, and which it does not."""
    taken = taken_by(table, route, list(cluster.partitions))
    others = [t for t in sorted(cluster.partitions) if route.matches(t) and t not in taken]
    lines = [f"  topics now: {listing(taken)}"]
    if others:
        lines.append(f"  taken by an earlier route: {listing(others)}")
    return lines


def missing_output(
    table: RouteTable, route: Route, cluster: Cluster, *, create: bool
) -> Planned | None:
    """Return the output that is to be created; None: it exists.

    Raises:
        InvalidRoute: it does not exist, and is not to be created.
    """
    from consumer.errors import InvalidRoute
    from consumer.kafka.topic_plan import Sizes, planned_output

    if route.output in cluster.partitions:
        return None
    if not create:
        raise InvalidRoute(
            f"output {route.output} does not exist, and the texts of the route would stand still "
            "until it does; create it with --create"
        )
    kept_ms = duration_ms(OUTPUT_RETENTION)
    sizes = Sizes(
        partitions=PARTITIONS,
        dead_letter_partitions=1,
        replication_factor=None,
        input_retention_ms=kept_ms,
        output_retention_ms=kept_ms,
        dead_letter_retention_ms=kept_ms,
    )
    inputs = taken_by(table, route, list(cluster.partitions))
    return planned_output(route, inputs=inputs, cluster=cluster, sizes=sizes)


def output_said(kafka: KafkaSettings, route: Route, missing: Planned | None) -> list[str]:
    """Return how the output is created, or what it refuses."""
    from consumer.kafka.targets import is_compacted
    from consumer.kafka.topics import connected

    if missing is not None:
        return [f"  creates{creation_said(missing).removeprefix(' ')}"]
    with connected(kafka) as admin:
        if not is_compacted(admin, route.output):
            return []
    said = f"  beware: {route.output} is compacted and refuses records without keys: texts "
    return [f"{said}without a key would stand still"]
