"""Patterns of topics: regular expressions that are matched in a time with a bound."""

from __future__ import annotations

import importlib
import re
from functools import lru_cache
from math import prod
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

TOPIC_MAX_CHARACTERS: Final = 249  # Kafka's limit
PATTERN_MAX_CHARACTERS: Final = 256

# Two or three repeats in a row without an end, tried in all ways over the longest name.
_WAYS_MAX: Final = (TOPIC_MAX_CHARACTERS + 1) ** 3
_NAMES_MAX: Final = 1_000
_TOPIC: Final = re.compile(r"[A-Za-z0-9._-]{1,249}")

# What Python makes of a pattern. It has no public name; nothing else tells how a pattern is built.
_parser: Any = importlib.import_module("re._parser")
_REPEATS: Final = {"MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"}
_SINGLE: Final = {"LITERAL", "NOT_LITERAL", "ANY", "IN", "AT"}


def check_pattern(pattern: str) -> str:
    """Return the pattern if every topic's name can be held against it in a short time.

    Python's matcher tries one way after the other. A pattern such as `(a+)+` has so many
    that one name stops a worker permanently, so the ways are counted first.

    Raises:
        ValueError: it is none, too long, or could take too long.
    """
    if not 1 <= len(pattern) <= PATTERN_MAX_CHARACTERS:
        msg = f"the pattern has {len(pattern)} characters, expected 1..{PATTERN_MAX_CHARACTERS}"
        raise ValueError(msg)
    try:
        re.compile(f"^(?:{pattern})$")  # how it is used: flags for all of it are no part of that
        ways = _ways(_parser.parse(pattern))
    except (re.error, RecursionError, OverflowError) as error:
        msg = f"not a regular expression: {error}"
        raise ValueError(msg) from error
    if ways > _WAYS_MAX:
        msg = (
            "matching could take too long: use at most three * or + in a row, and none around a "
            "group that repeats or has alternatives; a class such as [a-z.-]* is always fast"
        )
        raise ValueError(msg)
    return pattern


def check_topic(name: str) -> str:
    """Return the name if a topic can have it.

    Raises:
        ValueError: it cannot.
    """
    if not _TOPIC.fullmatch(name) or name in {".", ".."}:
        msg = (
            f"{name[:40]!r} cannot be the name of a topic: use 1..{TOPIC_MAX_CHARACTERS} letters, "
            "digits, dots, underscores and dashes"
        )
        raise ValueError(msg)
    return name


@lru_cache(10_000)
def domain_in(pattern: str, topic: str) -> str | None:
    r"""Return what the group `domain` matched in a topic, else the topic; None where none matches.

    >>> domain_in(r"reviews\.(?P<domain>.+)", "reviews.films")
    'films'
    """
    match = re.fullmatch(pattern, topic)
    return match and (match.groupdict().get("domain") or topic)


def may_be_domain(pattern: str, domain: str) -> bool:
    r"""Return whether a topic that matches can give this domain, as far as its group tells.

    >>> [may_be_domain(r"texts\.(?P<domain>hotels|cars)", name) for name in ("cars", "books")]
    [True, False]
    """
    start = pattern.find("(?P<domain>")
    if start < 0:
        return re.fullmatch(pattern, domain) is not None
    begin = start + len("(?P<domain>")
    for end in range(begin, len(pattern)):
        if pattern[end] == ")":
            try:
                group = re.compile(pattern[begin:end])
            except re.error:  # not the group's own bracket yet
                continue
            return group.fullmatch(domain) is not None
    return True


def topics_of(pattern: str, domain: str | None = None) -> set[str] | None:
    r"""Return the topics that match, of those the ones that give a domain; None: too many to tell.

    >>> topics_of(r"a\.(?P<domain>.+)|b\.(?P<rest>.+)", "hotels")
    >>> topics_of(r"(a|b)\.(?P<domain>.+)", "hotels") == {"a.hotels", "b.hotels"}
    True
    """
    parsed = _parser.parse(pattern)
    group = parsed.state.groupdict.get("domain")
    if domain is None:
        return _names(parsed, {})
    found = {domain} if group is None else _names(parsed, {group: domain})
    return found and {topic for topic in found if domain_in(pattern, topic) == domain}


def _names(parsed: Any, known: Mapping[int, str]) -> set[str] | None:  # noqa: ANN401
    """Return all that matches, groups taken to hold what is known of them; None: too many."""
    names = {""}
    for kind, value in parsed:
        parts: list[set[str] | None] = []
        if str(kind) == "LITERAL":
            parts = [{chr(value)}]
        elif str(kind) == "SUBPATTERN":
            parts = [{known[value[0]]} if value[0] in known else _names(value[3], known)]
        elif str(kind) == "IN":  # also what becomes of a|b
            parts = [{chr(at)} if str(what) == "LITERAL" else None for what, at in value]
        elif str(kind) == "BRANCH":
            parts = [_names(branch, known) for branch in value[1]]
        told = [part for part in parts if part is not None]
        if not told or len(told) < len(parts) or len(names) * sum(map(len, told)) > _NAMES_MAX:
            return None
        names = {name + end for name in names for part in told for end in part}
    return names


def _ways(parsed: Any) -> int:  # noqa: ANN401 - Python's own, untyped
    """Return in how many ways a pattern can be matched against a name, at most."""
    return min(prod(_ways_of(str(kind), value) for kind, value in parsed), _WAYS_MAX + 1)


def _ways_of(kind: str, value: Any) -> int:  # noqa: ANN401
    if kind in _SINGLE:
        return 1
    if kind == "BRANCH":
        return sum(map(_ways, value[1]))
    if kind == "SUBPATTERN":
        return _ways(value[3])
    if kind in _REPEATS:
        least, most, body = value
        most = min(int(most), TOPIC_MAX_CHARACTERS)
        each = _ways(body)
        return max(1, most - int(least) + 1) if each == 1 else int(each**most)
    msg = f"{kind.lower().replace('_', ' ')} is not allowed in a route"
    raise re.error(msg)
