"""Writes the parts of the chart that follow from other files: run it after a change of either.

`python -m deploy.helm.derived` writes the schema of `settings` into values.schema.json, from the
settings themselves, and the table of values into README.md, from the comments in values.yaml.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Final

import yaml

from consumer.settings.load import Settings

CHART: Final = Path(__file__).parent / "offramp"
_ENTRY: Final = re.compile(r"( *)([A-Za-z_]+):(?: .*)?")
_TABLE: Final = re.compile(r"(?<=<!-- values -->\n).*(?=<!-- end -->)", re.DOTALL)


def schema(text: str) -> str:
    """Return values.schema.json with the settings of today."""
    whole = json.loads(text)
    derived = Settings.model_json_schema(ref_template="#/definitions/{model}")
    parts = {**derived.pop("$defs"), "Settings": derived}
    del parts["Settings"]["properties"]["instance"]  # the name of the pod
    for part in parts.values():
        part["description"] = part["description"].splitlines()[0]
    own = {name: part for name, part in whole["definitions"].items() if name[0].islower()}
    whole["definitions"] = own | {name: _plain(parts[name]) for name in sorted(parts)}
    return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"


def _plain(part: object) -> object:
    """Leave out titles, which repeat names, and defaults, which are the worker's to know."""
    if isinstance(part, list):
        return [_plain(item) for item in part]
    if not isinstance(part, dict):
        return part
    kept = {name: item for name, item in part.items() if name not in {"title", "default"}}
    return {
        name: {key: _plain(value) for key, value in item.items()}
        if name == "properties"
        else _plain(item)
        for name, item in kept.items()
    }


def readme(text: str, values: str) -> str:
    """Return README.md with the values of today."""
    rows = "".join(
        f"| `{name}` | {f'`{default}`' if default else ''} | {meaning} |\n"
        for name, default, meaning in described(values)
    )
    return _TABLE.sub(lambda _: f"| value | default | meaning |\n|---|---|---|\n{rows}", text)


def described(values: str) -> list[tuple[str, str, str]]:
    """Return name, default and meaning of each value, in the order of the file."""
    tree = yaml.safe_load(values)
    rows, comment, path = [], list[str](), list[str]()
    for line in values.splitlines():
        if line.lstrip().startswith("#"):
            comment.append(line.lstrip().removeprefix("#").strip())
        elif (entry := _ENTRY.fullmatch(line)) and (comment or not entry[1]):
            path[len(entry[1]) // 2 :] = [entry[2]]
            value = tree
            for name in path:
                value = value[name]
            default = "" if value == "" else json.dumps(value, ensure_ascii=False).strip('"')
            section = isinstance(value, dict) and line.endswith(":") and _has_own(values, line)
            if comment:
                rows.append((".".join(path), "" if section else default, " ".join(comment)))
            comment = []
        elif entry:
            path[len(entry[1]) // 2 :] = [entry[2]]
        elif not line:
            comment = []
    return rows


def _has_own(values: str, line: str) -> bool:
    """Return whether the values below this line are described one by one."""
    below = values[values.index(f"\n{line}\n") + len(line) + 2 :]
    inner = " " * (len(line) - len(line.lstrip()) + 2)
    mine = re.match(rf"(?:{inner}.*\n)*", below)
    return mine is not None and f"{inner}# " in mine[0]


def main() -> None:
    """Write both files."""
    path = CHART / "values.schema.json"
    path.write_text(schema(path.read_text(encoding="utf-8")), encoding="utf-8")
    path = CHART / "README.md"
    values = (CHART / "values.yaml").read_text(encoding="utf-8")
    path.write_text(readme(path.read_text(encoding="utf-8"), values), encoding="utf-8")


if __name__ == "__main__":
    main()
