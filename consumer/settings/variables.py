"""Environment variables: each one that begins with `OFFRAMP_` sets something, or is refused."""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING, Final, get_args, get_origin

from pydantic import BaseModel

from consumer.errors import InvalidSettings
from policy_state.suggesting import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator

PREFIX: Final = "OFFRAMP_"
OTHERS: Final = (
    *("OFFRAMP_CONFIG", "OFFRAMP_USER"),
    # For tests, which pass their own environment on to the workers that they start.
    *("OFFRAMP_CHAOS", "OFFRAMP_SHARED", "OFFRAMP_TEST_KAFKA", "OFFRAMP_TEST_REDIS"),
)
"""Variables that are read and are not settings."""

# What Kubernetes sets in every pod for a service whose name begins with `offramp`.
_SERVICE: Final = re.compile(
    r"OFFRAMP(_[A-Z0-9_]+?)?_"
    r"(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
_SERVICE_URL: Final = re.compile(r"OFFRAMP(_[A-Z0-9_]+?)?_PORT")
_URL: Final = re.compile(r"(tcp|udp|sctp)://.*")


def setting_names(model: type[BaseModel], before: str = "") -> Iterator[str]:
    """Yield the dotted names of all sections and settings, each section before its settings."""
    for name, field in model.model_fields.items():
        yield before + name
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from setting_names(kind, f"{before}{name}.")


def kind_of(model: type[BaseModel], name: str) -> object:
    """Return the type of the setting with a dotted name; None if there is no such setting."""
    kind: object = model
    for part in name.split("."):
        fields = kind.model_fields if isinstance(kind, type) and issubclass(kind, BaseModel) else {}
        kind = fields[part].annotation if part in fields else None
    return kind


def read_json(kind: object, text: str) -> object:
    """Return the JSON in a text if a list or a section is expected; else the text."""
    if not _is_compound(kind) or not text.lstrip().startswith(("[", "{")):
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _is_compound(kind: object) -> bool:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return True
    return get_origin(kind) is tuple or any(map(_is_compound, get_args(kind)))


def from_environment(model: type[BaseModel]) -> dict[str, str]:
    """Return what variables set, by dotted names; a whole section comes before its settings.

    Raises:
        InvalidSettings: a variable with our prefix names no setting, so that it would silently
            do nothing; or a section is not JSON.
    """
    names = {variable_of(name): name for name in setting_names(model)}
    found: dict[str, str] = {}
    for given, value in os.environ.items():
        variable = given.upper()
        if not variable.startswith(PREFIX) or variable in OTHERS or _is_service(variable, value):
            continue
        if variable not in names:
            leaves = [known for known, name in names.items() if not _is_section(model, name)]
            meant = did_you_mean(variable, [*leaves, *OTHERS[:2]])
            raise InvalidSettings(f"{given}: there is no such setting{meant}")
        if _is_section(model, names[variable]) and not _is_object(value):
            example = next(known for known in names if known.startswith(f"{variable}__"))
            raise InvalidSettings(
                f"{given}: {value[:100]!r}, expected the section as a JSON object; to set one "
                f"setting, use a variable such as {example}"
            )
        found[names[variable]] = value
    return {name: found[name] for name in names.values() if name in found}


def variable_of(name: str) -> str:
    """Return the variable of a setting.

    >>> variable_of("kafka.group")
    'OFFRAMP_KAFKA__GROUP'
    """
    return PREFIX + name.replace(".", "__").upper()


def _is_service(name: str, value: str) -> bool:
    if _SERVICE.fullmatch(name):
        return True
    return _SERVICE_URL.fullmatch(name) is not None and _URL.fullmatch(value) is not None


def _is_section(model: type[BaseModel], name: str) -> bool:
    kind = kind_of(model, name)
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _is_object(value: str) -> bool:
    try:
        return isinstance(json.loads(value), dict)
    except (ValueError, RecursionError):
        return False
