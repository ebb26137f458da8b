"""All routes of a group: which are in force, and what a change makes of them."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError

from consumer.errors import InvalidRoute, RoutesGone
from consumer.routes.route import Route, route_for
from consumer.section import complaints
from policy_state.store.groups import ROUTES_MAX
from policy_state.suggesting import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from policy_state.store.groups import RouteStore, StoredRoutes

BUILT_IN = Route(name="texts", topics=r"texts\.(?P<domain>.+)")
"""What a group reads whose routes were never changed."""

Source = Literal["settings", "redis", "built-in"]


@dataclass(frozen=True, slots=True)
class RouteTable:
    """The routes of a group in order: of those that match a topic the first one counts."""

    routes: tuple[Route, ...]
    source: Source
    revision: int = 0  # of those in Redis

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the routes."""
        return tuple(route.name or "" for route in self.routes)

    @property
    def version(self) -> str:
        """Which routes these are, as a worker shows it: `settings`, or the revision in Redis."""
        return self.source if self.source == "settings" else f"revision {self.revision}"

    def named(self, name: str) -> Route:
        """Return a route by its name.

        Raises:
            InvalidRoute: there is none.
        """
        if name not in self.names:
            known = f"; the routes are: {', '.join(self.names)}" if self.names else ""
            meant = did_you_mean(name, self.names)
            raise InvalidRoute(f"route {name!r} not found{meant or known}")
        return self.routes[self.names.index(name)]

    def with_route(
        self, route: Route, *, before: str | None = None, instead: bool = False
    ) -> RouteTable:
        """Return the table with one more route, at its end or before another.

        Args:
            route: with a name or without, then it gets one.
            before: the name of the route that it goes before.
            instead: it replaces the route of its name.

        Raises:
            InvalidRoute: the name is taken, or is not there where it should be.
        """
        routes = list(self.routes)
        name = route.name or _free_name(route.topics, self.names)
        route = route.model_copy(update={"name": name})
        if instead:
            routes[routes.index(self.named(name))] = route
        elif name in self.names:
            raise InvalidRoute(f"route {name!r} already exists; change it with --replace")
        else:
            at = len(routes) if before is None else routes.index(self.named(before))
            routes.insert(at, route)
        return replace(self, routes=tuple(routes))

    def without(self, name: str) -> RouteTable:
        """Return the table without a route.

        Raises:
            InvalidRoute: there is none of that name.
        """
        gone = self.named(name)
        return replace(self, routes=tuple(route for route in self.routes if route is not gone))

    def documents(self) -> list[dict[str, Any]]:
        """Return the routes as they are stored."""
        return [route.model_dump(exclude_none=True) for route in self.routes]


def stored_table(stored: StoredRoutes) -> RouteTable:
    """Return the routes that a store has; the built-in one if nothing was ever written there.

    Raises:
        InvalidRoute: one of them is none, or they went missing: what a group reads is not guessed.
    """
    if stored.lost:
        raise InvalidRoute(
            "Redis has lost the routes of this group, but has their history: see `offramp route "
            "history`, and add them again"
        )
    if stored.revision == 0:
        return RouteTable((BUILT_IN,), "built-in")
    return RouteTable(tuple(map(route_from, stored.routes)), "redis", stored.revision)


def table_to_change(stored: StoredRoutes) -> RouteTable:
    """Return the routes that a change starts from: none where they went missing.

    Raises:
        InvalidRoute: one of them is none.
    """
    return RouteTable((), "redis") if stored.lost else stored_table(stored)


def settings_table(routes: Sequence[Route]) -> RouteTable:
    """Return the routes that the settings give, each with a name."""
    table = RouteTable((), "settings")
    for route in routes:
        table = table.with_route(route)
    return table


def route_from(fields: Mapping[str, object]) -> Route:
    """Return a route from its fields.

    Raises:
        InvalidRoute: naming the field and what is wrong with it.
    """
    try:
        return Route.model_validate(fields)
    except ValidationError as error:
        first = complaints(error, Route)[0]
        where, said = ".".join(first.path), first.said
        if first.kind == "extra_forbidden":
            said += did_you_mean(where, first.siblings)
        shown = "" if first.kind == "missing" else f" {str(first.value)!r:.300}"
        raise InvalidRoute(f"route, {where}{shown}: {said}") from error


@dataclass(frozen=True, slots=True)
class GroupRoutes:
    """What the settings say of the routes of a group."""

    group: str
    given: tuple[Route, ...] | None  # these and no others; None: those in Redis
    dead_letters: str
    policy_topic: str

    def in_force(self, store: RouteStore) -> RouteTable:
        """Return the routes that are given; where none are, those of the group in Redis.

        Raises:
            InvalidRoute: what is stored cannot be used here.
            StoreError: the store could not answer.
        """
        if self.given is not None:
            return settings_table(self.given)
        return self.usable(store.routes(self.group))

    def usable(self, stored: StoredRoutes) -> RouteTable:
        """Return the routes that a store has, if they can be used here.

        Raises:
            InvalidRoute: they cannot.
        """
        table = stored_table(stored)
        self.check(table.routes)
        return table

    def check(self, routes: Sequence[Route]) -> None:
        """Refuse routes that cannot be together.

        Raises:
            InvalidRoute: too many, two of a name, one that would read what a worker writes, or one
                that writes predictions among the dead letters or into the policy topic.
        """
        if len(routes) > ROUTES_MAX:
            raise InvalidRoute(f"{len(routes)} routes, limit {ROUTES_MAX}")
        names = [route.name for route in routes if route.name is not None]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise InvalidRoute(f"two routes have the name {twice!r}")
        own = {self.dead_letters: "the dead-letter topic", self.policy_topic: "the policy topic"}
        written = dict(own)
        for route in routes:
            shown = f"route {route.name or route.topics!r}"
            if route.output in own:
                raise InvalidRoute(
                    f"{shown}: output {route.output} is {own[route.output]}; choose a separate "
                    "topic for predictions"
                )
            written[route.output] = f"the output of {shown}"
        for topic, what in written.items():
            if (reading := route_for(routes, topic)) is not None:
                raise InvalidRoute(
                    f"route {reading.name or reading.topics!r} would read {topic}, {what}: "
                    "a worker would read what it has written"
                )

    def gone(self, why: str) -> RoutesGone:
        """Return the error that Redis has lost the routes of the group."""
        return RoutesGone(
            f"Redis has lost the routes of group {self.group} ({why}), so workers do not know what "
            f"to read: restore them from topic {self.policy_topic} with `offramp policy rebuild`, "
            "or add them again with `offramp route add`"
        )


def _free_name(pattern: str, taken: Sequence[str]) -> str:
    r"""Return a name from how a pattern begins: `reviews\.(?P<domain>.+)` gives `reviews`."""
    start = re.match(r"[A-Za-z0-9_-]*", pattern)
    base = start[0][:60] if start and start[0] else "route"
    numbered = (f"{base}-{number}" for number in range(2, ROUTES_MAX + 3))
    return base if base not in taken else next(n for n in numbered if n not in taken)
