"""Routes with a cost weight of their own: which exit is best for their texts of a domain."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from consumer.cli.common import POLICY, read_settings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from consumer.routes import Route
    from policy_state.backends.redis import RedisStore
    from policy_state.store import DomainSnapshot, OpenedPolicy


WEIGHED: Final = (*POLICY, "kafka.group", "kafka.dead_letters", "kafka.policy_topic", "routes")
"""The settings of a command that asks for these, for `read_settings`."""


def weighted_routes(
    store: RedisStore, config: Path | None, set_: Sequence[str] | None
) -> list[Route]:
    """Return the routes whose texts are not decided on with the policy's cost weight."""
    from consumer.errors import InvalidRoute
    from consumer.route_watch import routes_in_force

    try:
        table = routes_in_force(read_settings(config, set_), store)
    except InvalidRoute:
        return []  # `offramp route list` tells
    return [route for route in table.routes if route.cost_weight is not None]


def exits_by_route(
    routes: Sequence[Route], domain: str, snapshot: DomainSnapshot, opened: OpenedPolicy
) -> list[dict[str, Any]]:
    """Return the best exit of a domain by each of the routes that may lead to it."""
    from policy_state.policy import build

    layers, found = opened.meta.layers, []
    for route in routes:
        if route.cost_weight is None or not route.may_lead_to(domain):
            continue
        policy = build(replace(opened.meta.settings, cost_weight=route.cost_weight), layers)
        best = policy.assess(snapshot.stats).exit if snapshot.pin is None else snapshot.pin
        found.append(
            {
                "route": route.name,
                "cost_weight": route.cost_weight,
                "exit": best,
                "layer": layers[best],
            }
        )
    return found


def in_words(rows: Sequence[dict[str, Any]]) -> str:
    """Return them as lines."""
    return "\n".join(
        f"by route {row['route']}, cost weight {row['cost_weight']:g}: "
        f"exit {row['exit']} (layer {row['layer']})"
        for row in rows
    )
