"""How numbers of things are written in messages."""

from __future__ import annotations


def counted(number: int, thing: str, things: str | None = None) -> str:
    """Return a number with what is counted, in the singular or the plural.

    Args:
        number: How many.
        thing: What one of them is called.
        things: What several are called; by default with an s, and `-y` becomes `-ies`.

    >>> counted(1, "text"), counted(2, "text"), counted(2, "copy"), counted(1, "was", "were")
    ('1 text', '2 texts', '2 copies', '1 was')
    """
    if number == 1:
        return f"1 {thing}"
    if things is None:
        things = f"{thing[:-1]}ies" if thing.endswith("y") else f"{thing}s"
    return f"{number:d} {things}"
