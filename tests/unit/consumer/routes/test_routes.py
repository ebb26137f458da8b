"""Routes: from a topic, a header or a field to a domain."""

import re

import pytest
from pydantic import ValidationError

from consumer.errors import InvalidEvent
from consumer.events.codec import EventBody
from consumer.events.record import Record
from consumer.routes.route import Route, may_get, promise_for, route_for, subscription


def record(topic="texts.films", headers=()):
    return Record(topic, 0, 0, 0, None, b"x", headers)


@pytest.mark.parametrize(
    ("route", "expected"),
    [
        (Route(topics=r"texts\.(?P<domain>.+)"), "films"),
        (Route(topics=r"texts\..+"), "texts.films"),
        (Route(topics=r".*", domain="field:domain"), "by-field"),
        (Route(topics=r".*", domain="field:shop"), "s1"),
        (Route(topics=r".*", domain="field:absent"), "default"),
        (Route(topics=r".*", domain="field:meta.source"), "web"),
        (Route(topics=r".*", domain="field:meta.source.deeper"), "default"),
        (Route(topics=r".*", domain="field:copy"), "default"),
        (Route(topics=r".*", domain="header:d"), "by-header"),
        (Route(topics=r".*", domain="header:absent"), "default"),
        (Route(topics=r".*", domain="fixed:all"), "all"),
    ],
)
def test_domain_is_found_where_the_route_says(route, expected):
    """Topic, field, header and fixed domains are found; an absent one is `default`."""
    body = EventBody.model_validate(
        {"text": "x", "domain": "by-field", "shop": "s1", "meta": {"source": "web"}}
    )
    headers = (("d", b"first"), ("d", b"by-header"))  # the last one wins, as in Kafka
    assert route.domain_of(record(headers=headers), body) == expected


@pytest.mark.parametrize(
    ("header", "field", "expected"),
    [
        ((), {}, "default"),
        ((("d", None),), {"d": None}, "default"),
        ((("d", b"a"), ("d", None)), {"d": None}, "default"),
        ((("d", b""),), {"d": ""}, None),
    ],
)
def test_null_is_absent_and_empty_is_not(header, field, expected):
    """In a header as in a field: none or null is `default`, an empty name is refused."""
    body = EventBody.model_validate({"text": "x", **field})
    for source in ("header:d", "field:d"):
        route = Route(topics=".*", domain=source)
        if expected is None:
            with pytest.raises(InvalidEvent, match="0 bytes"):
                route.domain_of(record(headers=header), body)
        else:
            assert route.domain_of(record(headers=header), body) == expected


@pytest.mark.parametrize("domain", ["", "a\x00", "\u202e", "x" * 129, "__overflow__"])
def test_hostile_domains_are_refused(domain):
    """A domain that cannot be kept or shown is an error of the route step."""
    body = EventBody.model_construct(text="x", domain=domain)
    with pytest.raises(InvalidEvent) as caught:
        Route(topics=".*", domain="field:domain").domain_of(record(), body)
    assert (caught.value.stage, caught.value.error_class) == ("route", "invalid-domain")


def test_domain_must_be_a_string():
    """A number or a list in the field is refused, not turned into a name."""
    body = EventBody.model_validate({"text": "x", "shop": 5})
    with pytest.raises(InvalidEvent, match="int"):
        Route(topics=".*", domain="field:shop").domain_of(record(), body)


def test_first_matching_route_wins_and_the_whole_name_must_match():
    """Order decides; a pattern is for whole names."""
    routes = (Route(topics="a", domain="fixed:1"), Route(topics="a.*", domain="fixed:2"))
    assert route_for(routes, "a") is routes[0]
    assert route_for(routes, "ab") is routes[1]
    assert route_for(routes, "xa") is None


def test_without_routes_nothing_is_subscribed():
    """The pattern of no routes matches no topic."""
    assert not [name for name in ("a", "texts.x", ".") if re.match(subscription(()), name)]


@pytest.mark.parametrize(
    ("route", "domain", "expected"),
    [
        (Route(topics=r"a\.(?P<domain>.+)"), "films", True),
        (Route(topics=r"a\.(?P<domain>.+)", domain="header:d"), "films", True),
        (Route(topics=r"a\..+"), "films", False),
        (Route(topics=r"a\..+"), "a.films", True),
        (Route(topics="a", domain="fixed:x"), "x", True),
        (Route(topics="a", domain="fixed:x"), "y", False),
    ],
)
def test_a_route_knows_domains_that_it_cannot_lead_to(route, domain, expected):
    """Fixed domains and whole names are certain; of groups, headers and fields any may come."""
    assert route.may_lead_to(domain) is expected


def test_a_route_gets_what_no_earlier_one_takes():
    """Told topic by topic where they are few; else a route before it must take everything."""
    films = Route(topics=r"a\.(?P<domain>.+)")
    by_field = Route(topics=r"a\..+", domain="field:d")
    for before, route, expected in (
        (Route(topics=r"a\.films"), films, False),
        (Route(topics=r"a\.cars"), films, True),
        (Route(topics="a.+"), films, False),
        (Route(topics=r"a\..+"), by_field, False),
        (Route(topics=r"a\.films"), by_field, True),
        (Route(topics=".*"), by_field, False),
        (Route(topics="a|b"), Route(topics="b|c", domain="fixed:films"), True),
        (Route(topics="a|b|c"), Route(topics="b|c", domain="fixed:films"), False),
    ):
        assert may_get((before, route), route, "films") is expected, (before, route)
        assert may_get((route, before), route, "films"), (before, route)


def test_the_promise_of_a_domain_is_that_of_its_routes() -> None:
    """The policy's where no route to it has its own; the strictest where several lead to it."""
    films = Route(topics=r"reviews\.(?P<domain>films)", gate=0.98)
    off = Route(topics=r"plain\.(?P<domain>hotels|books)", gate=0)
    others = Route(topics=r"more\.(?P<domain>films|books|cars)")

    def promises(*routes: Route, policy: float) -> list[float]:
        domains = ("films", "hotels", "books", "cars")
        return [promise_for(routes, domain, policy=policy) for domain in domains]

    assert promises(policy=0.99) == promises(others, policy=0.99) == [0.99] * 4
    assert promises(films, off, policy=0.0) == [0.98, 0.0, 0.0, 0.0]
    assert promises(films, off, policy=0.99) == [0.98, 0.0, 0.0, 0.99]
    assert promises(films, off, others, policy=0.9) == [0.98, 0.0, 0.9, 0.9]
    assert promises(films, off, others, policy=0.99) == [0.99, 0.0, 0.99, 0.99]


def test_subscription_covers_all_routes():
    """One pattern finds the topics of all routes, group names notwithstanding."""
    pattern = subscription(
        (Route(topics=r"a\.(?P<domain>.+)"), Route(topics=r"b\.(?P<domain>x|y)"))
    )
    matched = [name for name in ("a.1", "b.x", "b.z", "za.1", "a.") if re.match(pattern, name)]
    assert matched == ["a.1", "b.x"]


@pytest.mark.parametrize(
    "fields",
    [
        {"topics": "("},
        {"topics": "(a+)+"},
        {"topics": "a", "domain": "shop"},
        {"topics": "a", "domain": "field:"},
        {"topics": "a", "domain": "field:a..b"},
        {"topics": "a", "domain": "fixed:\u202e"},
        {"topics": "a", "domain": "fixed:__overflow__"},
        {"topics": "a", "output": "a b"},
        {"topics": "a", "cost_weight": -1},
        {"topics": "a", "cost_weight": float("inf")},
    ],
)
def test_wrong_routes_are_refused(fields):
    """A broken pattern or an unknown source of domains is an error when settings are read."""
    with pytest.raises(ValidationError):
        Route(**fields)
