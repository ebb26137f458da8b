"""The pages of the site that are made from code: commands, the JSON API, and the keys in Redis."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from consumer.cli.app import app
from consumer.cli.commands import RUN
from consumer.dashboard.openapi import described

_SCRIPTS: Final = Path(__file__).parents[2] / "policy_state" / "store" / "redis" / "lua"
_KEY: Final = re.compile(r"^--   (offramp:.+?) +([A-Z]+) +(.*)$")
_MORE: Final = re.compile(r"^-- {30,}(.*)$")
_KINDS: Final = {str: "TEXT", int: "N", float: "N", Path: "FILE"}
_MADE: Final = "This page is made from the code."


def pages() -> dict[str, str]:
    """Return the text of each page, by its place on the site."""
    return {
        "reference/commands.md": commands(),
        "reference/api.md": api(),
        "reference/redis-keys.md": redis_keys(),
    }


def commands() -> str:
    """Return the page of all commands, as their `--help` describes them."""
    root: Any = typer.main.get_command(app)
    panels: dict[str, list[str]] = {}
    for name in root.list_commands(None):
        command = root.commands[name]
        panel = panels.setdefault(command.rich_help_panel or RUN, [])
        for words, inner in _walk(command, ("offramp", name)):
            panel += _command(words, inner)
    lines = ["# Commands", f"{_MADE} `offramp COMMAND --help` shows the same."]
    for heading, inside in panels.items():
        lines += [f"## {heading}", *inside]
    return "\n\n".join(lines) + "\n"


def _walk(
    command: object, words: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], TyperCommand]]:
    if isinstance(command, TyperGroup):
        for name in command.list_commands(None):  # type: ignore[arg-type]  # ours need no context
            yield from _walk(command.commands[name], (*words, name))
    elif isinstance(command, TyperCommand):
        yield words, command


def _command(words: tuple[str, ...], command: TyperCommand) -> list[str]:
    arguments = [p for p in command.params if isinstance(p, TyperArgument)]
    options = [p for p in command.params if isinstance(p, TyperOption) and not p.hidden]
    usage = " ".join([*words, *map(_usage, arguments), *(["[OPTIONS]"] if options else [])])
    lines = [f"### {' '.join(words)}", f"```text\n{usage}\n```", command.help or ""]
    if arguments:
        rows = [f"| `{_usage(p)}` | {_cell(p.help)} |" for p in arguments]
        lines.append("\n".join(["| argument | meaning |", "|---|---|", *rows]))
    if options:
        rows = [f"| {_names(p)} | {_cell(_meaning(p))} |" for p in options]
        lines.append("\n".join(["| option | meaning |", "|---|---|", *rows]))
    examples = re.findall(r"^`(.*)`$", command.epilog or "", re.MULTILINE)
    if examples:
        lines.append("```sh\n" + "\n".join(examples) + "\n```")
    return lines


def _usage(argument: TyperArgument) -> str:
    name = argument.metavar or (argument.name or "").upper()
    name += "..." if argument.nargs == -1 and not name.endswith("...") else ""
    return name if argument.required else f"[{name}]"


def _names(option: TyperOption) -> str:
    names = ", ".join(f"`{name}`" for name in [*option.opts, *option.secondary_opts])
    if option.is_flag or option.count:
        return names
    return f"{names} {_code(option.metavar or _KINDS[option.type_descriptor.annotation])}"


def _meaning(option: TyperOption) -> str:
    said = [option.help or ""]
    if option.required:
        said.append("Required.")
    low, high = getattr(option, "min", None), getattr(option, "max", None)
    if low is not None and high is not None:
        said.append(f"From {low:,} to {high:,}.")
    if option.show_default and not option.is_flag and option.default not in {None, ()}:
        said.append(f"Default: {_code(str(getattr(option.default, 'value', option.default)))}.")
    if isinstance(option.envvar, str):
        said.append(f"Variable: `{option.envvar}`.")
    return " ".join(said)


def api() -> str:
    """Return the page of the dashboard's JSON API."""
    document = described()
    lines = ["# The JSON API of the dashboard", document["info"]["description"]]
    lines.append(
        f"{_MADE} A running dashboard serves it as an OpenAPI document at `/api/openapi.json`. "
        "[The dashboard](../dashboard.md#the-json-api) says how a request shows its token."
    )
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            lines += [f"## {method.upper()} {path}", operation["summary"]]
            form = operation.get("requestBody", {}).get("content", {})
            fields = [
                (p["name"], p["required"], p["schema"], p["description"])
                for p in operation.get("parameters", [])
            ]
            for body in form.values():
                needed = body["schema"]["required"]
                fields += [
                    (name, name in needed, kind, kind.get("description", ""))
                    for name, kind in body["schema"]["properties"].items()
                ]
            if fields:
                rows = [
                    f"| `{name}` | {_kind(kind)} | {'yes' if must else 'no'} | {_cell(said)} |"
                    for name, must, kind, said in fields
                ]
                head = ["| parameter | value | required | meaning |", "|---|---|---|---|"]
                lines.append("\n".join([*head, *rows]))
            schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
            rows = list(_answer(schema))
            lines.append("\n".join(["| answer | value |", "|---|---|", *rows]))
    return "\n\n".join(lines) + "\n"


def _answer(schema: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for name, kind in schema["properties"].items():
        yield f"| `{prefix}{name}` | {_kind(kind)} |"
        if kind.get("type") == "array" and "items" in kind and "properties" in kind["items"]:
            yield from _answer(kind["items"], f"{prefix}{name}[].")


def _kind(schema: dict[str, Any]) -> str:
    if "const" in schema:
        return _code(str(schema["const"]))
    if "enum" in schema:
        return ", ".join(map(_code, schema["enum"]))
    kinds = schema.get("type", "any")
    shown = " or ".join(kinds) if isinstance(kinds, list) else kinds
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None:
        shown += f", {low} to {high}" if high is not None else f", at least {low}"
    return shown


def redis_keys() -> str:
    """Return the page of the keys in Redis, from the map at the top of the Lua scripts."""
    rows: list[list[str]] = []
    for line in (_SCRIPTS / "common.lua").read_text(encoding="utf-8").splitlines():
        if found := _KEY.match(line):
            rows.append([*found.groups()])
        elif rows and (more := _MORE.match(line)):
            rows[-1][2] += f" {more[1]}"
        elif rows and line == "--":
            break
    table = [f"| {_code(key)} | {kind} | {_escaped(_cell(held))} |" for key, kind, held in rows]
    head = f"""# Keys in Redis

{_MADE} It is for readers of the code, and for operators who size or inspect a Redis. Do not change
keys by hand. [The commands](commands.md) change them, and check what they write.

`<pid>` is the id of a policy, which `offramp:policies` holds by name. The braces are a hash tag of
Redis Cluster: all keys of one policy are on one node.

| key | type | what it holds |
|---|---|---|
"""
    return head + "\n".join(table) + "\n"


def _code(text: str) -> str:
    return f"`{text}`".replace("|", "\\|")


def _cell(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|")


def _escaped(text: str) -> str:
    return text.replace("<", "&lt;").replace("*", "\\*")
