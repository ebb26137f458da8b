"""Reads the settings once: from options, the environment, a TOML or YAML file, and defaults."""

from __future__ import annotations

import os
import re
import socket
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import yaml
from pydantic import Field, ValidationError, ValidationInfo, field_validator

from consumer.errors import InvalidRoute, InvalidSettings
from consumer.routes.route import Route
from consumer.routes.table import GroupRoutes
from consumer.section import Section
from consumer.settings.problems import in_lines
from consumer.settings.sections import (
    BatchSettings,
    ErrorSettings,
    KafkaSettings,
    LogSettings,
    MetricsSettings,
    ModelSettings,
    PolicyOptions,
    RedisSettings,
    StoreSettings,
    WorkerSettings,
)
from consumer.settings.variables import PREFIX, from_environment, kind_of, read_json

if TYPE_CHECKING:
    from collections.abc import Mapping


class Settings(Section):
    """All settings of a worker."""

    kafka: KafkaSettings = KafkaSettings()
    redis: RedisSettings = RedisSettings()
    model: ModelSettings = ModelSettings()
    policy: PolicyOptions = PolicyOptions()
    store: StoreSettings = StoreSettings()
    batch: BatchSettings = BatchSettings()
    errors: ErrorSettings = ErrorSettings()
    worker: WorkerSettings = WorkerSettings()
    metrics: MetricsSettings = MetricsSettings()
    log: LogSettings = LogSettings()
    routes: Annotated[tuple[Route, ...], Field(min_length=1)] | None = Field(
        None,
        description="the only routes of the group; default: the routes in Redis (`offramp route`)",
    )
    instance: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,100}$")] = Field(
        default_factory=lambda: re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname())[:100],
        description="unique name of this worker in its group, the same after a restart",
    )

    @property
    def group_routes(self) -> GroupRoutes:
        """What is known of the group's routes without asking Redis."""
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


def load_settings(
    path: Path | None = None, *, options: Mapping[str, object] | None = None
) -> Settings:
    """Read the settings.

    Args:
        path: a TOML or YAML file whose sections are the fields of `Settings`; by default the
            file that the variable `OFFRAMP_CONFIG` names, if it is set.
        options: dotted names to values, such as `{"kafka.group": "a"}`; they override everything.

    Raises:
        InvalidSettings: names each wrong setting and its value.
    """
    named = os.environ.get(PREFIX + "CONFIG")
    path = path or (Path(named) if named else None)
    from_file = {} if path is None else _read_file(path)
    given, variables = _tree(options or {}), dict[str, Any]()
    for name, text in from_environment(Settings).items():
        variables = _merged(variables, _tree({name: text}))
    try:
        return Settings.model_validate(_merged(_merged(from_file, variables), given))
    except ValidationError as error:
        said = in_lines(error, Settings, options=given, path=path, file=from_file)
        raise InvalidSettings(said) from error


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of both; `above` wins, setting by setting."""
    merged = below | above
    for name in below.keys() & above.keys():
        if isinstance(below[name], dict) and isinstance(above[name], dict):
            merged[name] = _merged(below[name], above[name])
    return merged


def _tree(options: Mapping[str, object]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, value in options.items():
        *sections, last = name.split(".")
        node = tree
        for section in sections:
            node = node.setdefault(section, {})
            if not isinstance(node, dict):
                raise InvalidSettings(f"{name}: {section} is also given as a whole")
        if last in node:
            raise InvalidSettings(f"{name}: one of its settings is also given")
        node[last] = read_json(kind_of(Settings, name), value) if isinstance(value, str) else value
    return tree


class _OnceOnly(yaml.SafeLoader):
    """Refuses a name that appears twice: the YAML reader would silently take the later one."""


def _once(loader: _OnceOnly, node: yaml.MappingNode) -> dict[Any, Any]:
    names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise yaml.MarkedYAMLError(problem=f"{twice} appears twice", problem_mark=node.start_mark)
    loader.flatten_mapping(node)
    return loader.construct_mapping(node, deep=True)


_OnceOnly.add_constructor("tag:yaml.org,2002:map", _once)


def _read_file(path: Path) -> dict[str, Any]:
    """Return the sections of a settings file.

    Raises:
        InvalidSettings: the file cannot be read, is neither TOML nor YAML, or has no sections.
    """
    if path.suffix not in {".toml", ".yaml", ".yml"}:
        raise InvalidSettings(f"{path}: expected a settings file that ends in .toml, .yaml or .yml")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InvalidSettings(f"{path}: not UTF-8, at byte {error.start}") from error
    except FileNotFoundError as error:
        raise InvalidSettings(
            f"{path}: no such settings file; it is named by --config or {PREFIX}CONFIG"
        ) from error
    except (OSError, ValueError) as error:  # a name with a zero in it is a ValueError
        said = getattr(error, "strerror", None) or error
        raise InvalidSettings(f"{path}: cannot be read: {said}") from error
    kind = "TOML" if path.suffix == ".toml" else "YAML"
    try:
        found = tomllib.loads(text) if kind == "TOML" else yaml.load(text, _OnceOnly)  # noqa: S506
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = "" if mark is None else f" (line {mark.line + 1}, column {mark.column + 1})"
        raise InvalidSettings(f"{path}: not YAML: {error.problem}{where}") from error
    except (ValueError, TypeError, yaml.YAMLError) as error:
        raise InvalidSettings(f"{path}: not {kind}: {error}") from error
    except RecursionError as error:
        raise InvalidSettings(f"{path}: not {kind}: nested too deeply") from error
    if found is None:  # an empty file, or one of comments
        return {}
    if not isinstance(found, dict):
        kind = type(found).__name__
        raise InvalidSettings(f"{path}: holds a {kind}, expected sections of settings")
    return {str(name): value for name, value in found.items()}
