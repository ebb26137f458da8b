"""Settings: from options, environment, a TOML or YAML file, defaults, in this order; read once."""

from __future__ import annotations

import os
import re
import socket
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, ValidationError, ValidationInfo, field_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from consumer.errors import InvalidRoute, InvalidSettings
from consumer.routes.route import Route
from consumer.routes.table import GroupRoutes
from consumer.settings.file import read_settings_file
from consumer.settings.problems import in_lines
from consumer.settings.sections import (
    BatchSettings,
    ErrorSettings,
    KafkaSettings,
    ModelSettings,
    PolicyOptions,
    RedisSettings,
    StoreSettings,
    WorkerSettings,
)
from consumer.settings.variables import PREFIX, check_variables, kind_of, read_json
from consumer.unset import Unsettable

if TYPE_CHECKING:
    from collections.abc import Mapping


class Settings(BaseSettings, Unsettable):
    """All settings of a worker."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        nested_model_default_partial_update=True,
        protected_namespaces=(),
    )

    kafka: KafkaSettings = KafkaSettings()
    redis: RedisSettings = RedisSettings()
    model: ModelSettings = ModelSettings()
    policy: PolicyOptions = PolicyOptions()
    store: StoreSettings = StoreSettings()
    batch: BatchSettings = BatchSettings()
    errors: ErrorSettings = ErrorSettings()
    worker: WorkerSettings = WorkerSettings()
    routes: Annotated[tuple[Route, ...], Field(min_length=1)] | None = Field(
        None, description="these and no others; default: those in Redis (`offramp route`)"
    )
    instance: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,100}$")] = Field(
        default_factory=lambda: re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname())[:100],
        description="unique name of this worker in its group, the same after a restart",
    )

    @property
    def group_routes(self) -> GroupRoutes:
        """What is known of the group's routes before Redis is asked."""
        return self.kafka.group_routes(self.routes)

    @field_validator("routes")
    @classmethod
    def _checked_routes(
        cls, routes: tuple[Route, ...] | None, info: ValidationInfo
    ) -> tuple[Route, ...] | None:
        try:
            if routes is not None and "kafka" in info.data:
                info.data["kafka"].group_routes(routes).check(routes)
        except InvalidRoute as error:
            raise ValueError(str(error)) from error
        return routes

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Options win over the environment, the environment over the file."""
        del dotenv_settings, file_secret_settings
        file = InitSettingsSource(settings_cls, _file.get())
        return init_settings, env_settings, file


_file: ContextVar[dict[str, Any]] = ContextVar("_file", default={})  # noqa: B039  (never changed)


def load_settings(
    path: Path | None = None, *, options: Mapping[str, object] | None = None
) -> Settings:
    """Read the settings.

    Args:
        path: a TOML or YAML file whose sections are the fields of `Settings`; by default the
            one that the environment names in `OFFRAMP_CONFIG`, if any.
        options: dotted names to values, such as `{"kafka.group": "a"}`; they win over all else.

    Raises:
        InvalidSettings: naming each wrong field and the value it has.
    """
    named = os.environ.get(PREFIX + "CONFIG")
    path = path or (Path(named) if named else None)
    from_file = {} if path is None else read_settings_file(path)
    check_variables(Settings)
    given = _tree(options or {})
    token = _file.set(from_file)
    try:
        return Settings(**given)
    except ValidationError as error:
        said = in_lines(error, Settings, options=given, path=path, file=from_file)
        raise InvalidSettings(said) from error
    except SettingsError as error:
        raise InvalidSettings(f"environment: {error}") from error
    finally:
        _file.reset(token)


def _tree(options: Mapping[str, object]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, value in options.items():
        *sections, last = name.split(".")
        node = tree
        for section in sections:
            node = node.setdefault(section, {})
            if not isinstance(node, dict):
                raise InvalidSettings(f"{name}: {section} is given as a whole, too")
        if last in node:
            raise InvalidSettings(f"{name}: a setting of it is given, too")
        node[last] = read_json(kind_of(Settings, name), value) if isinstance(value, str) else value
    return tree
