"""A section of settings, of routes or of fields, and the rules for every value in it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final, get_args

from pydantic import BaseModel, ConfigDict, field_validator
from pydantic_core.core_schema import ValidationInfo  # noqa: TC002  (pydantic reads it)

from policy_state.options import UNSET

_NOTHING: Final = type(None)
_UNSENT: Final = re.compile(r"[\x00\r\n\ud800-\udfff]")


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
