"""Domain names: what is allowed, and how they are written into keys."""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from typing import Final
from urllib.parse import quote, unquote

from policy_state.errors import InvalidDomain

_REMEMBERED: Final = 10_000  # names: a worker asks for the same ones in every batch

DEFAULT_DOMAIN: Final = "default"
OVERFLOW_DOMAIN: Final = "__overflow__"
"""Where the texts of new domains are counted once a policy has as many as it may."""

DOMAIN_MAX_BYTES: Final = 128
_SHOWN_CHARACTERS: Final = 40

_BIDI: Final = frozenset(
    "\u061c\u200e\u200f"  # marks
    "\u202a\u202b\u202c\u202d\u202e"  # embeddings and overrides
    "\u2066\u2067\u2068\u2069"  # isolates
)
# Control characters, line and paragraph separators, lone surrogates.
_FORBIDDEN_CATEGORIES: Final = frozenset({"Cc", "Zl", "Zp", "Cs"})


@lru_cache(_REMEMBERED)
def domain_key(name: str | None) -> str:
    """Return the domain that `name` stands for: itself, or `default` for None.

    Names come from outside (a topic, a header, a field), so they are bounded and may not hold what
    would break a log line or show in another order than it is stored.

    Raises:
        InvalidDomain: Not 1..128 bytes of UTF-8, or with a control or text direction character.
    """
    if name is None:
        return DEFAULT_DOMAIN
    size_bytes = len(name.encode("utf-8", "surrogatepass"))
    if not 1 <= size_bytes <= DOMAIN_MAX_BYTES:
        raise InvalidDomain(
            f"domain {_shown(name)} has {size_bytes} bytes, limit 1..{DOMAIN_MAX_BYTES}"
        )
    for position, character in enumerate(name):
        if character in _BIDI or unicodedata.category(character) in _FORBIDDEN_CATEGORIES:
            raise InvalidDomain(
                f"domain {_shown(name)}: character U+{ord(character):04X} at {position} "
                "is not allowed (control, separator or text direction)"
            )
    return name


def text_domain(name: str | None) -> str:
    """Return the domain of a text as `domain_key` does, but not the one that others share.

    Raises:
        InvalidDomain: As `domain_key`, or `__overflow__`.
    """
    if name == OVERFLOW_DOMAIN:
        raise InvalidDomain(f"domain {name} is where domains beyond the limit are counted")
    return domain_key(name)


@lru_cache(_REMEMBERED)
def encode_domain(domain: str) -> str:
    """Return the domain percent-encoded: letters, digits, `_.-~` and `%` only.

    >>> encode_domain("hotels/{zürich}")
    'hotels%2F%7Bz%C3%BCrich%7D'
    """
    return quote(domain, safe="")


def decode_domain(encoded: str) -> str:
    """Return the domain that `encode_domain` wrote."""
    return unquote(encoded, errors="strict")


def _shown(name: str) -> str:
    return ascii(name[:_SHOWN_CHARACTERS]) + ("..." if len(name) > _SHOWN_CHARACTERS else "")
