"""Log lines as JSON: what a message says as `key=value` becomes a field."""

from __future__ import annotations

import json
import logging
import re
import time
from functools import lru_cache
from math import isfinite
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

# `key=%s` with the space before it, or another place for a value.
_PLACE: Final = re.compile(r"(?:(?:^| )(\w+)=)?(%(?:[-#0 +]*\d*(?:\.\d+)?[sdrfx]|%))")
_PLAIN: Final = (int, type(None))  # a bool is an int, too


class JsonLine(logging.Formatter):
    """Makes one object of a record: time, level, logger, instance, message, and its fields."""

    def __init__(self, instance: str) -> None:
        """Take the name of the worker."""
        super().__init__()
        self._instance = instance

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        message, fields = split(str(record.msg), record.args)
        said: dict[str, Any] = {
            **fields,
            "time": f"{_second(int(record.created))}.{int(record.msecs):03d}+00:00",
            "level": record.levelname.lower(),
            "logger": record.name,
            "instance": self._instance,
            "message": message,
        }
        if record.exc_info:
            said["exception"] = self.formatException(record.exc_info)
        return json.dumps(said)  # ASCII: no name from outside can break it


@lru_cache(maxsize=1)
def _second(since_1970_s: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(since_1970_s))


def split(template: str, args: Any) -> tuple[str, dict[str, Any]]:  # noqa: ANN401  (logging's)
    """Return a message without its fields, and the fields.

    >>> split("batch events=%d depth=%.2f commit_ms=%.0f", (256, 3.14159, 17.2))
    ('batch', {'events': 256, 'depth': 3.14, 'commit_ms': 17.0})
    >>> split("waiting for %s waited_s=%.0f", ("Redis", 2.0))
    ('waiting for Redis', {'waited_s': 2.0})
    """
    if not isinstance(args, tuple) or not args:
        return (template % args if args else template), {}
    rest, names, forms = _places(template)
    if len(forms) != len(args):  # not one of our lines
        return template % args, {}
    fields: dict[str, Any] = {}
    others: list[Any] = []
    for name, form, value in zip(names, forms, args, strict=True):
        if name is None:
            others.append(value)
        else:
            fields[name] = _value(form, value)
    return rest % tuple(others), fields


@lru_cache(maxsize=1000)
def _places(template: str) -> tuple[str, Sequence[str | None], Sequence[str]]:
    """Return a template without its fields, and name and form of each place for a value."""
    found = [match for match in _PLACE.finditer(template) if match[2] != "%%"]
    rest = _PLACE.sub(lambda match: "" if match[1] else match[0], template)
    return rest, [match[1] for match in found], [match[2] for match in found]


def _value(form: str, value: Any) -> Any:  # noqa: ANN401
    """Return a value as JSON can have it, with the digits that its form asks for."""
    if form[-1] == "f" and isfinite(value):
        return float(form % value)
    plain = isinstance(value, _PLAIN) or (isinstance(value, float) and isfinite(value))
    return value if plain and form[-1] != "r" else form % (value,)
