"""What is wrong with settings: one line each, with the name, the value and where it comes from."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, Final

from consumer.section import Complaint, complaints
from consumer.settings.variables import setting_names, variable_of
from policy_state.suggesting import did_you_mean, nearest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pydantic import BaseModel, ValidationError

_SECRET: Final = re.compile("(password|secret|token)$")
_LOGIN: Final = re.compile(r"(://[^/@:]*):.*@", re.DOTALL)
_SHOWN_CHARACTERS: Final = 200


def in_lines(
    error: ValidationError,
    model: type[BaseModel],
    *,
    options: dict[str, Any],
    path: Path | None,
    file: dict[str, Any],
) -> str:
    """Return what is wrong, one line for each setting.

    Args:
        error: what pydantic found.
        model: the model of all settings.
        options: the settings given as options, as a tree of sections.
        path: the settings file, if there is one.
        file: the contents of that file.
    """
    found = complaints(error, model)
    return "\n".join(_line(each, model, _origin(each.path, options, path, file)) for each in found)


def redacted_url(url: str) -> str:
    """Return the URL with its password hidden.

    >>> redacted_url("redis://me:horse@host:1/0")
    'redis://me:***@host:1/0'
    """
    return _LOGIN.sub(r"\1:***@", url)


def _line(found: Complaint, model: type[BaseModel], origin: str) -> str:
    name = ".".join(found.path)
    value, said = found.value, found.said
    shown = repr(redacted_url(value) if isinstance(value, str) else value)
    if len(shown) > _SHOWN_CHARACTERS:
        shown = f"{shown[:_SHOWN_CHARACTERS]}.. ({len(shown)} characters)"
    if _SECRET.search(name):
        shown = "***"  # somebody wrote a secret instead of the name of a file
    if found.kind == "extra_forbidden":
        near = nearest(found.path[-1], found.siblings)
        where = ".".join([*found.path[:-1], near]) if near else None
        meant = f"; did you mean {where}?" if where else did_you_mean(name, setting_names(model))
        said = f"no such setting{meant}"
    if isinstance(value, dict):
        return f"{name}{origin}: {said}"
    return f"{name}: {shown}{origin}, {said}"


def _origin(
    names: Sequence[str], given: dict[str, Any], path: Path | None, from_file: dict[str, Any]
) -> str:
    """Return which variable or file a setting comes from; nothing for an option."""
    if _has(given, names):
        return ""
    variables = {variable_of(".".join(names[:n])) for n in range(1, len(names) + 1)}
    for variable in os.environ:
        if variable.upper() in variables:
            return f" (from {variable})"
    return f" (from {path})" if _has(from_file, names) else ""


def _has(tree: object, names: Sequence[str]) -> bool:
    for name in names:
        if isinstance(tree, list | tuple):  # routes: the whole list comes from one place
            return True
        if not isinstance(tree, dict) or name not in tree:
            return False
        tree = tree[name]
    return True
