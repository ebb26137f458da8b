"""Routes with a cost weight of their own: which exit is best for their texts of a domain."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from consumer.cli.common import POLICY, read_settings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from consumer.routes.route import Route
    from policy_state.stats import ExitStats
    from policy_state.store.port import DomainSnapshot, OpenedPolicy
    from policy_state.store.redis.store import RedisStore


WEIGHED: Final = (*POLICY, "kafka.group", "kafka.dead_letters", "kafka.policy_topic", "routes")
"""The settings of a command that asks for these, for `read_settings`."""


def known_routes(
    store: RedisStore, config: Path | None, set_: Sequence[str] | None
) -> tuple[Route, ...]:
    """Return the routes in force, none where they cannot be told."""
    from consumer.errors import InvalidRoute

    try:
        return tuple(read_settings(config, set_).group_routes.in_force(store).routes)
    except InvalidRoute:
        return ()  # `offramp route list` tells


def exits_by_route(
    routes: Sequence[Route],
    domain: str,
    snapshot: DomainSnapshot,
    opened: OpenedPolicy,
    pool: ExitStats,
) -> list[dict[str, Any]]:
    """Return the exit that a domain's texts get by each route to it with a cost weight of its own.

    `pool` has the counters of all domains together.
    """
    from consumer.routes.route import may_get
    from policy_state.algorithms.base import build
    from policy_state.reports.domain import exit_of

    layers, found = opened.meta.layers, []
    for route in routes:
        if route.cost_weight is None or not may_get(routes, route, domain):
            continue
        policy = build(replace(opened.meta.settings, cost_weight=route.cost_weight), layers)
        best = exit_of(snapshot, policy, pool=pool)
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
