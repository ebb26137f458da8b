"""How numbers of things are written in messages."""

from __future__ import annotations


def counted(number: int, thing: str, things: str | None = None) -> str:
    """Return a number with what is counted, in the singular or the plural.

    >>> counted(1, "text"), counted(2000, "text"), counted(2, "class", "classes")
    ('1 text', '2,000 texts', '2 classes')
    """
    return f"1 {thing}" if number == 1 else f"{number:,} {things or f'{thing}s'}"
