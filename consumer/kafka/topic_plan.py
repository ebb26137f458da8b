"""Which topics a group needs, and how they should be."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

from consumer.errors import InvalidRoute
from consumer.kafka.topics import Cluster, NewTopic
from consumer.routes.pattern import check_topic
from consumer.routes.route import route_for

if TYPE_CHECKING:
    from collections.abc import Sequence

    from consumer.routes.route import Route
    from consumer.routes.table import RouteTable

Role = Literal["input", "output", "dead-letter", "policy"]

_COPIES: Final = 3
_MESSAGE_BYTES: Final = 1_048_588  # what a record of an input may have, by Kafka's default
_HEADER_BYTES: Final = 64 << 10  # what a dead letter has on top of its record
_FOR_EVER: Final = -1  # ms, to Kafka
_NAMES_ONLY: Final = re.compile(r"(?:[A-Za-z0-9_-]|\\\.)+(?:\|(?:[A-Za-z0-9_-]|\\\.)+)*")


@dataclass(frozen=True, slots=True)
class Sizes:
    """How topics are made."""

    partitions: int  # of inputs and outputs
    dead_letter_partitions: int
    replication_factor: int | None  # None: three, or as many as there are brokers
    input_retention_ms: int
    output_retention_ms: int
    dead_letter_retention_ms: int


@dataclass(frozen=True, slots=True)
class Planned:
    """One topic that the group needs."""

    role: Role
    topic: NewTopic
    partitions_now: int | None  # None: it does not exist


def needed_topics(  # noqa: PLR0913 - which topics, and how they are made
    table: RouteTable,
    inputs: Sequence[str],
    *,
    dead_letters: str,
    policy_topic: str,
    cluster: Cluster,
    sizes: Sizes,
) -> list[Planned]:
    """Return inputs, outputs, dead-letter and policy topic, as they are to be created.

    Inputs are those asked for, and those that routes name without a pattern.

    Raises:
        InvalidRoute: no route is for one of the inputs, or it is no name of a topic.
    """
    for name in inputs:
        try:
            check_topic(name)
        except ValueError as error:
            raise InvalidRoute(str(error)) from error
        if route_for(table.routes, name) is None:
            raise InvalidRoute(f"no route matches topic {name}; add one with `offramp route add`")
    named = [n for route in table.routes for n in named_topics(route.topics)]
    roles: dict[str, Role] = dict.fromkeys([*inputs, *named], "input")
    roles |= dict.fromkeys([route.output for route in table.routes], "output")
    roles |= {dead_letters: "dead-letter", policy_topic: "policy"}
    return [_planned(name, role, cluster, sizes) for name, role in roles.items()]


def planned_output(
    route: Route, *, inputs: Sequence[str], cluster: Cluster, sizes: Sizes
) -> Planned:
    """Return the output of a route, as it is to be created: as many partitions as its inputs have.

    Where it has none yet, the partitions of `sizes` count.
    """
    most = max((cluster.partitions[name] for name in inputs), default=sizes.partitions)
    sizes = replace(sizes, partitions=most)
    return _planned(route.output, "output", cluster, sizes)


def _planned(name: str, role: Role, cluster: Cluster, sizes: Sizes) -> Planned:
    copies = sizes.replication_factor or min(_COPIES, cluster.brokers)
    retention_ms = {
        "input": sizes.input_retention_ms,
        "output": sizes.output_retention_ms,
        "dead-letter": sizes.dead_letter_retention_ms,
        "policy": _FOR_EVER,
    }[role]
    configs = {
        # Every record counts, also an older one of the same key; of what people set, the latest.
        "cleanup.policy": "compact" if role == "policy" else "delete",
        "min.insync.replicas": str(max(1, copies - 1)),
        "retention.ms": str(retention_ms),
    }
    if role == "dead-letter":
        configs["max.message.bytes"] = str(_MESSAGE_BYTES + _HEADER_BYTES)
    partitions = {"dead-letter": sizes.dead_letter_partitions, "policy": 1}.get(
        role, sizes.partitions
    )
    topic = NewTopic(name, partitions, copies, configs)
    return Planned(role, topic, cluster.partitions.get(name))


def named_topics(pattern: str) -> list[str]:
    """Return the names that a pattern stands for, if it is nothing but names."""
    if _NAMES_ONLY.fullmatch(pattern) is None:
        return []
    return pattern.replace("\\.", ".").split("|")
