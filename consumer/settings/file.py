"""Settings files, TOML or YAML: read whole, with errors that name the file."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any

import yaml

from consumer.errors import InvalidSettings

if TYPE_CHECKING:
    from pathlib import Path


class _OnceOnly(yaml.SafeLoader):
    """YAML in which a name stands once: of two the reader would take the later in silence."""


def _once(loader: _OnceOnly, node: yaml.MappingNode) -> dict[Any, Any]:
    names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise yaml.MarkedYAMLError(problem=f"{twice} stands twice", problem_mark=node.start_mark)
    loader.flatten_mapping(node)
    return loader.construct_mapping(node, deep=True)


_OnceOnly.add_constructor("tag:yaml.org,2002:map", _once)


def read_settings_file(path: Path) -> dict[str, Any]:
    """Return the sections of a settings file.

    Raises:
        InvalidSettings: it cannot be read, is neither TOML nor YAML, or has no sections.
    """
    if path.suffix not in {".toml", ".yaml", ".yml"}:
        raise InvalidSettings(f"{path}: name ends in {path.suffix!r}, expected .toml or .yaml")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InvalidSettings(f"{path}: not UTF-8, at byte {error.start}") from error
    except FileNotFoundError as error:
        raise InvalidSettings(f"{path}: no such file") from error
    except (OSError, ValueError) as error:  # a name with a zero in it is a ValueError
        said = getattr(error, "strerror", None) or error
        raise InvalidSettings(f"{path}: cannot be read: {said}") from error
    kind = "TOML" if path.suffix == ".toml" else "YAML"
    try:
        found = tomllib.loads(text) if kind == "TOML" else yaml.load(text, _OnceOnly)  # noqa: S506
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = "" if mark is None else f" (line {mark.line + 1}, column {mark.column + 1})"
        raise InvalidSettings(f"{path}: not YAML: {error.problem}{place}") from error
    except (ValueError, TypeError, yaml.YAMLError) as error:
        raise InvalidSettings(f"{path}: not {kind}: {error}") from error
    except RecursionError as error:
        raise InvalidSettings(f"{path}: not {kind}: nested too deep") from error
    if found is None:  # an empty file, or one of comments
        return {}
    if not isinstance(found, dict):
        raise InvalidSettings(f"{path}: a {type(found).__name__}, expected sections of settings")
    return {str(name): value for name, value in found.items()}
