"""The word that unsets an optional setting, wherever settings are written."""

from __future__ import annotations

from typing import Any, Final, get_args

from pydantic import BaseModel, field_validator
from pydantic_core.core_schema import ValidationInfo  # noqa: TC002  (pydantic reads it)

from policy_state.options import UNSET


class Unsettable(BaseModel):
    """Settings of which the optional ones are unset by `none`: TOML and variables have no null."""

    @field_validator("*", mode="before")
    @classmethod
    def _unset(cls, value: object, info: ValidationInfo) -> object:
        field = cls.model_fields.get(info.field_name or "")
        return None if value == UNSET and field and is_optional(field.annotation) else value


_NOTHING: Final = type(None)


def is_optional(kind: Any) -> bool:  # noqa: ANN401 - a type, or a union of some
    """Say whether a setting of this type can be unset.

    >>> [is_optional(kind) for kind in (int | None, str)]
    [True, False]
    """
    return _NOTHING in get_args(kind)
