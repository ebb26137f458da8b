"""Patterns of topics: what is allowed, and that matching one has a bound in time."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.routes.pattern import check_pattern, check_topic, domain_in, topics_of

PIECES = ("a", ".", "[a-c]", r"\.", "(", ")", "(?:", "|", "*", "+", "?", "{2,5}", "+?", "^", "$")


@pytest.mark.parametrize(
    "pattern",
    [
        "reviews",
        r"reviews\.(?P<domain>.+)",
        r"orders|returns|claims",
        r"[^.]+\.[^.]+\.(?P<domain>.+)",
        r"(eu|us)\.(?P<domain>[a-z-]+)(\.v[0-9]{1,3})?",
        ".*",
        "x" * 256,
    ],
)
def test_what_routes_need_is_allowed(pattern):
    """Names, alternatives, groups, and repeats one behind the other are fine."""
    assert check_pattern(pattern) == pattern


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("", "expected 1..256"),
        ("x" * 257, "expected 1..256"),
        ("(", "not a regular expression"),
        ("a)|(b", "not a regular expression"),
        ("(?i)a", "not a regular expression"),
        (r"(?=a)a", "not allowed"),
        (r"(a)\1", "not allowed"),
        ("(a+)+", "too long"),
        ("(a|a)*b", "too long"),
        ("(a|b|ab)*c", "too long"),
        ("([a-z]+)*", "too long"),
        ("(.*)*", "too long"),
        ("(a?){100}a{100}", "too long"),
        ("a?" * 60 + "a" * 60, "too long"),
        ("(a|a)" * 40, "too long"),
        (".*" * 4, "too long"),
        ("(((a{1,99}){1,99}){1,99})", "too long"),
    ],
)
def test_what_could_stop_a_worker_is_refused(pattern, said):
    """Patterns that are none, too long, or have too many ways to match, are errors at once."""
    begun = time.monotonic()
    with pytest.raises(ValueError, match=said):
        check_pattern(pattern)
    assert time.monotonic() - begun < 1


@settings(max_examples=300)
@given(st.lists(st.sampled_from(PIECES), max_size=40).map("".join), st.sampled_from("ab."))
def test_an_allowed_pattern_is_matched_in_a_short_time(pattern, letter):
    """Whatever the pieces, a pattern that passes is held against the longest name in a moment."""
    try:
        check_pattern(pattern)
    except ValueError:
        return
    begun = time.monotonic()
    for topic in (letter * 249, letter * 248 + "!"):
        domain_in(pattern, topic)
    assert time.monotonic() - begun < 10


@pytest.mark.parametrize(
    ("pattern", "domain", "topics"),
    [
        ("orders|returns", None, {"orders", "returns"}),
        (r"(eu|us)\.x", None, {"eu.x", "us.x"}),
        (r"(eu|us)\.(?P<domain>.+)", "films", {"eu.films", "us.films"}),
        (r"a\.(?P<domain>films|cars)", "books", set()),
        ("(?P<domain>a)|b", "b", {"b"}),
        (r"a\..+", "a.films", {"a.films"}),
        (r"a\..+", "films", set()),
        (r"[ab]\.(?P<domain>.+)", "films", {"a.films", "b.films"}),
        ("[^a]|[b-d]", None, None),
        ("(a|b)" * 10, None, None),
    ],
)
def test_topics_are_told_where_they_are_few(pattern, domain, topics):
    """Where alternatives are all that is open each topic is known, else none is."""
    assert topics_of(pattern, domain) == topics


def test_names_of_topics_are_kafkas():
    """Letters, digits, dots, underscores and dashes, 249 at most."""
    assert check_topic("a.B_c-9") == "a.B_c-9"
    for name in ("", ".", "..", "a b", "ü", "x" * 250, "a\n"):
        with pytest.raises(ValueError, match="cannot be the name of a topic"):
            check_topic(name)
