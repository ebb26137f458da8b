"""What somebody may have meant who wrote a name that is not there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

_MAX_CHARACTERS: Final = 200  # of a name that is compared; the time grows with its square
_CUTOFF: Final = 0.6


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known name that is most like a word, None where none is.

    >>> nearest("hotles", ["films", "hotels"])
    'hotels'
    """
    from difflib import get_close_matches

    if len(word) > _MAX_CHARACTERS:
        return None
    names = {name.lower(): name for name in known if len(name) <= _MAX_CHARACTERS}
    found = get_close_matches(word.lower(), names, n=1, cutoff=_CUTOFF)
    return names[found[0]] if found else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return the end of a message about an unknown name: the one that was meant, if it is plain.

    >>> did_you_mean("hotles", ["films", "hotels"])
    '; did you mean hotels?'
    """
    meant = nearest(word, known)
    return "" if meant is None else f"; did you mean {meant}?"


def no_such_policy(name: str, known: Collection[str]) -> str:
    """Return the message about a policy that is not there: which one was meant, or which there are.

    >>> no_such_policy("reviews", ["default", "second"])
    'policy reviews not found; the policies are: default, second'
    """
    if not known:
        return (
            "no policy exists yet: a worker creates it when it starts; try again once a worker has "
            "logged `started`"
        )
    there = did_you_mean(name, known) or f"; the policies are: {', '.join(known)}"
    return f"policy {name} not found{there}"
