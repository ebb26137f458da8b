"""Sections of settings, routes and fields: the rules for their values, and errors in our words."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, get_args

from pydantic import BaseModel, ConfigDict, field_validator
from pydantic_core.core_schema import ErrorType, ValidationInfo

from policy_state.options import UNSET

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pydantic import ValidationError

_NOTHING: Final = type(None)
_UNSENT: Final = re.compile(r"[\x00\r\n\ud800-\udfff]")
_NUMBER: Final = "expected a number"
_WHOLE: Final = "expected a whole number"
_SWITCH: Final = "expected true or false"
_TEXT: Final = "expected text"
_LIST: Final = "expected a list"
_FIELDS: Final = "expected a section of names with values"
_TIME: Final = "expected a time such as 2026-01-31T12:00:00Z, or milliseconds since 1970"
_WORDS: Final = {
    "bool_parsing": _SWITCH,
    "bool_type": _SWITCH,
    "dict_type": _FIELDS,
    "extra_forbidden": "no such field",
    "finite_number": "expected a finite number",
    "float_parsing": _NUMBER,
    "float_type": _NUMBER,
    "greater_than": "expected more than {gt}",
    "greater_than_equal": "expected {ge} or more",
    "int_from_float": _WHOLE,
    "int_parsing": _WHOLE,
    "int_parsing_size": "expected a whole number with fewer digits",
    "int_type": _WHOLE,
    "json_invalid": "not JSON: {error}",
    "less_than": "expected less than {lt}",
    "less_than_equal": "expected at most {le}",
    "list_type": _LIST,
    "literal_error": "expected {expected}",
    "missing": "is missing",
    "model_attributes_type": _FIELDS,
    "model_type": _FIELDS,
    "path_type": "expected a path",
    "string_too_long": "expected at most {max_length} characters",
    "string_too_short": "expected at least {min_length} characters",
    "string_type": _TEXT,
    "string_unicode": "expected text in UTF-8",
    "timezone_aware": _TIME,
    "too_long": "expected a list of at most {max_length}",
    "too_short": "expected a list of at least {min_length}",
    "tuple_type": _LIST,
    "value_error": "{error}",
}
_LARGEST: Final = 10**18
_KINDS: Final = frozenset(get_args(ErrorType))
_PATTERNS: Final = {  # in words
    r"^[A-Za-z0-9._-]{1,100}$": "1..100 letters, digits, dots, underscores and dashes",
    r"^[A-Za-z0-9._-]{1,64}$": "1..64 letters, digits, dots, underscores and dashes",
    r"^https?://[^@]+$": "http:// or https:// and an address without a login in it",
}


class Section(BaseModel):
    """A group of settings: unknown names are errors, and values do not change.

    `none` unsets an optional setting, as TOML and variables have no null.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=()
    )

    @field_validator("*", mode="before")
    @classmethod
    def _unset(cls, value: object, info: ValidationInfo) -> object:
        field = cls.model_fields.get(info.field_name or "")
        return None if value == UNSET and field and is_optional(field.annotation) else value

    @field_validator("*")
    @classmethod
    def _printed_and_sent(cls, value: object) -> object:
        """Refuse characters that no file, service or terminal accepts."""
        if isinstance(value, str | Path) and (bad := _UNSENT.search(str(value))):
            msg = f"contains the character {bad[0]!r}, which is not allowed"
            raise ValueError(msg)
        return value


def is_optional(kind: Any) -> bool:  # noqa: ANN401 - a type, or a union of some
    """Return whether a setting of this type can be unset.

    >>> [is_optional(kind) for kind in (int | None, str)]
    [True, False]
    """
    return _NOTHING in get_args(kind)


@dataclass(frozen=True, slots=True)
class Complaint:
    """What is wrong with one field."""

    path: tuple[str, ...]  # from the outermost field to the innermost; () is the whole
    said: str
    kind: str  # the error type of pydantic
    value: Any
    siblings: tuple[str, ...] = ()  # the fields next to it


def complaints(error: ValidationError, model: type[BaseModel]) -> list[Complaint]:
    """Return what is wrong with the fields of a model, one complaint for each field.

    A field that may be of several types gets the complaint about the type it comes nearest to,
    or one that joins the complaints about all types.
    """
    found: dict[tuple[str, ...], list[Complaint]] = {}
    for problem in error.errors(include_url=False):
        path, siblings = _path_and_siblings(model, problem["loc"])
        said = Complaint(path, sentence(problem), problem["type"], problem["input"], siblings)
        found.setdefault(path, []).append(said)
    inner = {path[:n] for path in found for n in range(len(path))}
    return [_joined(each) for path, each in found.items() if path not in inner]


def _path_and_siblings(
    model: type[BaseModel], parts: Iterable[int | str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the fields that a location names, and those next to the last one."""
    path: list[str] = []
    siblings: tuple[str, ...] = ()
    here: type[BaseModel] | None = model
    known = True
    for part in parts:
        if isinstance(part, int) or here is not None or not known:
            path.append(str(part))
        if isinstance(part, str) and here is not None:
            siblings = tuple(here.model_fields)
            known = part in siblings
            here = _model_in(here.model_fields[part].annotation) if known else None
    return tuple(path), siblings


def _model_in(kind: object) -> type[BaseModel] | None:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return kind
    return next((inner for part in get_args(kind) if (inner := _model_in(part))), None)


def _joined(each: Sequence[Complaint]) -> Complaint:
    first = each[0]
    said = list(dict.fromkeys(one.said.removeprefix("expected ") for one in each))
    start = "expected " if first.said.startswith("expected ") else ""
    return replace(first, said=start + " or ".join(said))


def sentence(problem: Mapping[str, Any]) -> str:
    """Return what is wrong with one value, in our words."""
    kind, given = problem["type"], problem.get("ctx", {})
    if kind == "string_pattern_mismatch":
        pattern = given["pattern"]
        return f"expected {_PATTERNS.get(pattern, f'to match {pattern}')}"
    if kind.startswith(("datetime_", "date_", "timezone_")):
        return _TIME
    if kind not in _KINDS:  # a validator of ours, with its own words
        return str(problem["msg"])
    given = {name: _plain(value) for name, value in given.items()}
    return _WORDS.get(kind, f"cannot be used ({kind.replace('_', ' ')})").format(**given)


def _plain(value: object) -> object:
    """Return a limit as people write it: 1, not 1.0."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, int) and abs(value) > _LARGEST:
        return f"10^{len(str(abs(value))) - 1}"
    return value
