"""Values that nobody expects, and putting each of them into each field of a JSON file."""

import json
import math
from typing import Any

NESTED: list[Any] = [1]
for _ in range(50):
    NESTED = [NESTED]
HOSTILE: tuple[Any, ...] = (
    None,
    True,
    [],
    ["a", "b"],
    {},
    {"a": [None]},
    "",
    "12",
    "x" * 10_000,
    "\ud800\n\u2028",
    0,
    1,
    -1,
    3,
    0.5,
    -1e308,
    1e308,
    10**9,
    2**64,
    10**400,
    math.nan,
    math.inf,
    NESTED,
)


def paths(value, path=()):
    """Yield the path of every field in a JSON value; of long lists and objects only a few."""
    yield path
    if isinstance(value, dict):
        for name in list(value)[:25]:
            yield from paths(value[name], (*path, name))
    elif isinstance(value, list):
        for i in range(min(len(value), 2)):
            yield from paths(value[i], (*path, i))


def replaced(value, path, other):
    """Return a JSON value with another one at a path."""
    if not path:
        return other
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(value[path[0]], path[1:], other)
    return copy


def walk(folder, name, content, *, load):
    """Put every hostile value into every field; yield the field and the error, if there is one."""
    for path in paths(content):
        for value in HOSTILE:
            (folder / name).write_text(json.dumps(replaced(content, path, value)))
            error = load(folder)
            if error is not None:
                assert error.isprintable(), (path, value, error)
                assert len(error) < 1200, (path, value, error)
                assert str(folder) in error, (path, value, error)
            yield path, value, error
