"""Settings as people write them: `NAME=VALUE`, checked against the value that stands now."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, Final, TypeVar

from policy_state.errors import InvalidInput
from policy_state.suggesting import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from _typeshed import DataclassInstance

    T = TypeVar("T", bound=DataclassInstance)
else:
    T = TypeVar("T")
N = TypeVar("N", int, float)


UNSET: Final = "none"
"""What unsets an optional setting, wherever it is written."""

_MOST: Final = 1e6  # of numbers in a list: layers, exits, costs, shares
_SAID = {
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "float | None": f"a number or {UNSET}",
    "str": "a name",
}


def parse_options(options: Iterable[str]) -> dict[str, Any]:
    """Return the values of `NAME=VALUE` options by name; values are JSON, or else plain words.

    >>> parse_options(["alpha=0.5", "algorithm=uee-ucb"])
    {'alpha': 0.5, 'algorithm': 'uee-ucb'}
    """
    found: dict[str, Any] = {}
    for option in options:
        name, equals, text = option.partition("=")
        if not equals or not name:
            raise InvalidInput(f"{option!r}: expected NAME=VALUE")
        if name in found:
            raise InvalidInput(f"{name!r} is given twice")
        try:
            found[name] = json.loads(text)
        except (ValueError, RecursionError):
            found[name] = text
    return found


def with_values(old: T, wanted: Mapping[str, Any]) -> T:
    """Return the settings with some values changed, each of the kind that it was.

    Raises:
        InvalidInput: No field of that name, a value of another kind, or refused by `old`.
    """
    known = {field.name: str(field.type) for field in fields(old)}
    values = {}
    for name, value in wanted.items():
        if name not in known:
            meant = did_you_mean(name, known) or f", expected one of {', '.join(known)}"
            raise InvalidInput(f"{name!r} is unknown{meant}")
        values[name] = _as_kind(name, known[name], value)
    return replace(old, **values)


def parse_numbers(text: str, what: str, kind: type[N]) -> tuple[N, ...]:
    """Return numbers of 0 or more as they are written on a command line, with commas between.

    >>> parse_numbers("1, 3,7", "--exits", int)
    (1, 3, 7)

    Raises:
        InvalidInput: they are none; says of what.
    """
    try:
        found = tuple(kind(part) for part in text.split(","))
    except ValueError:
        found = ()
    if not (found and all(0 <= number <= _MOST for number in found)):  # NaN, too
        whole, such = ("whole ", "1,3,7,12") if kind is int else ("", "0.1,0.5,1")
        raise InvalidInput(
            f"{what} {text[:40]}: expected {whole}numbers with commas, such as {such}"
        )
    return found


def _as_kind(name: str, kind: str, value: Any) -> Any:  # noqa: ANN401 - whatever was written
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if name == "cost":
        if isinstance(value, list):
            return tuple(value)
        text = str(value)
        return text if text.replace("-", "").isalpha() else parse_numbers(text, name, float)
    if value in (None, UNSET) and kind.endswith("| None"):
        return None
    if kind == "int" and number and float(value).is_integer():
        return int(value)
    if kind.startswith("float") and number:
        return float(value)
    if kind in {"bool", "str"} and type(value).__name__ == kind:
        return value
    raise InvalidInput(f"{name} {value!r:.100}, expected {_SAID.get(kind, kind)}")
