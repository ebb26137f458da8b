"""Where a group's predictions went: the outputs of its routes, also of those that are no more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from consumer.kafka.topics import connected, topic_ids
from consumer.routes.table import BUILT_IN
from policy_state.store.admin import AUDIT_ENTRIES

if TYPE_CHECKING:
    from collections.abc import Collection

    from consumer.routes.route import Route
    from consumer.settings.load import Settings
    from policy_state.store.groups import RouteStore

_NEVER: Final = 10**15  # ms, of a route that continues
_ALL_ENTRIES: Final = 2 * AUDIT_ENTRIES  # more than are ever kept


@dataclass(frozen=True, slots=True)
class Former:
    """A route as the history tells of it."""

    topics: str  # the pattern
    output: str
    until_ms: int  # nothing was predicted by it later


@dataclass(frozen=True, slots=True)
class PredictedTo:
    """The topics of a group's predictions."""

    topics: tuple[str, ...]  # that exist
    gone: tuple[Former, ...] = ()  # routes whose output does not


def former_routes(store: RouteStore, group: str) -> tuple[Former, ...]:
    """Return every route that the history of a group's routes tells of.

    A route ends with a change of the route of its name, so the latest of these is late enough.
    """
    until_ms: dict[str, int] = {}
    told: dict[tuple[str, str], str] = {}
    for entry in store.route_history(group, limit=_ALL_ENTRIES):
        match entry.detail.get("route"):
            case {"name": str(name), "topics": str(topics), "output": str(output)}:
                until_ms[name] = max(entry.time_ms, until_ms.get(name, 0))
                told[topics, output] = name
    return tuple(Former(*route, until_ms[name]) for route, name in told.items())


def where_predicted(
    settings: Settings,
    routes: Collection[Route],
    former: Collection[Former],
    *,
    named: Collection[str] = (),
) -> PredictedTo:
    """Return where predictions are to be looked for, by routes in force and `named` topics, too.

    The built-in route is in no history, and its output may never have been: where it is not there,
    nothing went to it.

    Raises:
        StreamUnavailable: no broker answers.
    """
    with connected(settings.kafka, "looking for the topics of predictions") as admin:
        there = topic_ids(admin).keys()
    outputs = {route.output for route in (*routes, BUILT_IN)} | {old.output for old in former}
    in_force = {(route.topics, route.output) for route in routes}
    gone = [
        *(Former(*route, _NEVER) for route in in_force),
        *(route for route in former if (route.topics, route.output) not in in_force),
    ]
    return PredictedTo(
        tuple(sorted({*outputs, *named} & there)),
        tuple(route for route in gone if route.output not in there),
    )
