"""From a record and its event to a domain: the topic's name, a header, a field, or fixed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Final

from pydantic import AfterValidator, Field

from consumer.errors import InvalidEvent
from consumer.routes.pattern import check_pattern, check_topic, domain_in, may_be_domain, topics_of
from consumer.section import Section
from policy_state.algorithms.settings import GATE_MAX, GATE_MIN, check_gate
from policy_state.domains import text_domain
from policy_state.errors import InvalidDomain, InvalidInput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from consumer.events.codec import EventBody
    from consumer.events.record import Record

NAME: Final = r"^[A-Za-z0-9._-]{1,64}$"

_SOURCES = ("topic", "field", "header", "fixed")
_SOURCE_MAX_CHARACTERS = 200


def checked_promise(promise: float) -> float:
    """Return the share that a gate promises; raise ValueError if it can be none."""
    try:
        return check_gate(promise)
    except InvalidInput as error:
        msg = f"expected 0 or a share of {GATE_MIN} to {GATE_MAX}"
        raise ValueError(msg) from error


def _checked_source(source: str) -> str:
    kind, colon, name = source.partition(":")
    if kind not in _SOURCES or (kind == "topic") == bool(colon) or (colon and not name):
        msg = "expected 'topic', 'field:PATH', 'header:NAME' or 'fixed:DOMAIN'"
        raise ValueError(msg)
    if len(source) > _SOURCE_MAX_CHARACTERS:
        msg = f"it has {len(source)} characters, limit {_SOURCE_MAX_CHARACTERS}"
        raise ValueError(msg)
    if kind == "field" and not all(name.split(".")):
        msg = f"{name!r} is not a path: expected names with a dot between them, such as meta.shop"
        raise ValueError(msg)
    if kind == "fixed":
        try:
            text_domain(name)
        except InvalidDomain as error:
            raise ValueError(str(error)) from error
    return source


class Route(Section):
    """Which topics it is for, where their events' domain is found, where predictions go.

    `topics` is a regular expression for the whole name. With `domain = "topic"` the domain is what
    its group `domain` matched, else the topic's name.
    """

    name: Annotated[str, Field(pattern=NAME)] | None = None
    topics: Annotated[str, AfterValidator(check_pattern)]
    domain: Annotated[str, AfterValidator(_checked_source)] = "topic"
    output: Annotated[str, AfterValidator(check_topic)] = "offramp.predictions"
    cost_weight: Annotated[float, Field(ge=0)] | None = None
    gate: Annotated[float, AfterValidator(checked_promise)] | None = None

    def matches(self, topic: str) -> bool:
        """Say whether the route is for this topic."""
        return domain_in(self.topics, topic) is not None

    def domain_of(self, record: Record, body: EventBody) -> str:
        """Return the domain of an event: `default` where field or header is absent or null.

        Raises:
            InvalidEvent: the domain is not a name, or not one that can be kept.
        """
        kind, _, name = self.domain.partition(":")
        found: object
        if kind == "topic":
            found = domain_in(self.topics, record.topic) or record.topic
        elif kind == "field":
            found = body.field(name)
        elif kind == "header":
            found = _header(record, name)
        else:
            found = name
        if found is not None and not isinstance(found, str):
            msg = f"{self.domain}: the domain is a {type(found).__name__}, expected a string"
            raise InvalidEvent("route", "invalid-domain", msg)
        try:
            return text_domain(found)
        except InvalidDomain as error:
            raise InvalidEvent("route", "invalid-domain", f"{self.domain}: {error}") from error

    def may_lead_to(self, domain: str) -> bool:
        """Say whether a text of this route can be of this domain, as far as that can be told."""
        kind, _, name = self.domain.partition(":")
        if kind == "fixed":
            return domain == name
        if kind == "topic":
            return may_be_domain(self.topics, domain)
        return True


def route_for(routes: Sequence[Route], topic: str) -> Route | None:
    """Return the first route that is for this topic."""
    return next((route for route in routes if route.matches(topic)), None)


def may_get(routes: Sequence[Route], route: Route, domain: str) -> bool:
    """Say whether texts of a domain can come by one of the routes, as far as that can be told.

    They cannot where each topic that they would come from is taken by a route before it.
    """
    if not route.may_lead_to(domain):
        return False
    topics = topics_of(route.topics, domain if route.domain == "topic" else None)
    if topics is not None:
        return any(route_for(routes, topic) is route for topic in topics)
    before = routes[: routes.index(route)]
    return not any(earlier.topics in {route.topics, ".+", ".*"} for earlier in before)


def promise_for(routes: Sequence[Route], domain: str, *, policy: float) -> float:
    """Return the promise of the gate that texts of a domain meet; 0: they meet none.

    If they can come by several routes it is the strictest, which the gate breaks first.

    Args:
        routes: All of the group.
        domain: Of the texts.
        policy: The promise of the policy, for routes without one.
    """
    if all(route.gate is None for route in routes):
        return policy
    leading = [route.gate for route in routes if may_get(routes, route, domain)]
    return max((policy if gate is None else gate for gate in leading), default=policy)


def subscription(routes: Sequence[Route]) -> str:
    """Return one pattern for all topics that any route is for, as Kafka clients take it.

    Names of groups are dropped: two routes may use the same one, a single expression may not.
    """
    unnamed = [re.sub(r"\(\?P<\w+>", "(", route.topics) for route in routes]
    return "^(?:" + "|".join(f"(?:{topics})" for topics in unnamed) + ")$"


def _header(record: Record, name: str) -> str | None:
    """Return the last header of a name, as `lastHeader` of Kafka's clients does."""
    value = next((value for key, value in reversed(record.headers) if key == name), None)
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError as error:
        msg = f"header {name} is not UTF-8"
        raise InvalidEvent("route", "invalid-domain", msg) from error
