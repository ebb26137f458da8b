"""Names of headers as text, also those whose bytes are none."""

from __future__ import annotations


class RawName(str):
    """A name that is no UTF-8. It is written as the bytes it was read from, not as it looks."""

    __slots__ = ()

    def encode(self, encoding: str = "utf-8", errors: str = "surrogateescape") -> bytes:
        """Return the bytes that were read, whatever is asked for: kafka-python writes these."""
        del encoding, errors
        return super().encode("utf-8", "surrogateescape")


def header_name(raw: bytes) -> str:
    r"""Return a header's name, so that writing it gives the same bytes again.

    >>> header_name(b"source"), header_name(b"\xff").encode("utf-8")
    ('source', b'\xff')
    """
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return RawName(raw.decode("utf-8", "surrogateescape"))


def shown_name(name: str) -> str:
    r"""Return a name for people and for JSON, where bytes that are no text look like `\xff`."""
    return name.encode("utf-8", "surrogateescape").decode(errors="backslashreplace")
