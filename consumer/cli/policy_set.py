"""`offramp policy set`: settings for all workers at once."""

from __future__ import annotations

import json
from dataclasses import asdict, fields, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from consumer.cli.common import Config, PolicyName, RedisUrl, Set, printable
from consumer.cli.policy_common import (
    By,
    Format,
    FormatOption,
    Reason,
    Yes,
    confirm,
    emit,
    opened_policy,
    who,
)

if TYPE_CHECKING:
    from policy_state.policy import PolicySettings
    from policy_state.store import OpenedPolicy

SET_EXAMPLES = """Examples:

`offramp policy set --cost-weight 0.05 --reason "deeper exits are worth it"`

`offramp policy set --cost 0.1,0.3,0.6,1 --alpha 0.5`

`offramp policy set --setting alpha=0.5 --limit domains=5000 --yes`
"""


def add_to(app: typer.Typer) -> None:
    """Add the command to the group."""
    app.command("set", epilog=SET_EXAMPLES)(set_settings)


def set_settings(
    cost: Annotated[
        str | None, typer.Option(help="layers, split, or one number per exit: 0.1,0.5,1.")
    ] = None,
    cost_weight: Annotated[
        float | None, typer.Option(help="What full depth costs, in units of error.")
    ] = None,
    alpha: Annotated[float | None, typer.Option(help="Width of the exploration bonus.")] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--setting", metavar="NAME=VALUE", help="Any setting.")
    ] = None,
    limit: Annotated[
        list[str] | None,
        typer.Option("--limit", metavar="NAME=VALUE", help="Any limit, e.g. domains=5000."),
    ] = None,
    config: Config = None,
    redis_url: RedisUrl = None,
    policy: PolicyName = None,
    reason: Reason = "",
    by: By = None,
    yes: Yes = False,
    set_: Set = None,
    output: FormatOption = Format.TABLE,
) -> None:
    """Change the settings of a policy for all its workers at once.

    They take them with their next answer from Redis; counters stay. The revision rises, and of two
    changes at the same time one is told to look again.
    """
    named = {"cost": cost, "cost_weight": cost_weight, "alpha": alpha}
    wanted = {name: value for name, value in named.items() if value is not None}
    with opened_policy(config, redis_url, policy, set_) as store:
        opened = store.describe()
        settings = _settings(opened, wanted | _assigned(setting))
        limits = replace(opened.meta.limits, **_checked(_assigned(limit), opened.meta.limits))
        before = asdict(opened.meta.settings) | asdict(opened.meta.limits)
        after = asdict(settings) | asdict(limits)
        rows = [
            {"name": name, "before": before[name], "after": after[name]}
            for name in after
            if before[name] != after[name]
        ]
        lines = [f"  {row['name']}: {row['before']} -> {row['after']}" for row in rows]
        if rows:
            title = f"policy {printable(opened.meta.name)}, settings of all its workers:"
            confirm("\n".join([title, *map(printable, lines)]), yes=yes)
            opened = store.configure(
                settings, limits, revision=opened.revision, by=who(by), reason=reason
            )
        emit(
            output,
            "policy-set",
            rows,
            rows_name="changes",
            empty="nothing to change",
            policy=opened.meta.name,
            revision=opened.revision,
        )


def _settings(opened: OpenedPolicy, wanted: dict[str, Any]) -> PolicySettings:
    """Return the settings with what is wanted changed, checked against the exits."""
    from policy_state.policy import build

    if "cost" in wanted:
        wanted["cost"] = _cost(wanted["cost"])
    values = _checked(wanted, opened.meta.settings)
    settings = replace(opened.meta.settings, **values)
    build(settings, opened.meta.layers)
    return settings


def _cost(value: Any) -> str | tuple[float, ...]:  # noqa: ANN401 - as typed by the user
    from policy_state.errors import InvalidSettings

    if isinstance(value, list):
        return tuple(value)
    if not isinstance(value, str) or value.replace("-", "").replace("_", "").isalpha():
        return value  # type: ignore[no-any-return]
    try:
        return tuple(float(number) for number in value.split(","))
    except ValueError:
        raise InvalidSettings(
            f"cost {printable(value)!r}, expected layers, split or one number per exit"
        ) from None


def _assigned(assignments: list[str] | None) -> dict[str, Any]:
    from policy_state.errors import InvalidSettings

    found: dict[str, Any] = {}
    for assignment in assignments or ():
        name, equals, text = assignment.partition("=")
        if not equals or not name:
            raise InvalidSettings(f"{printable(assignment)}: expected NAME=VALUE")
        try:
            found[name] = json.loads(text)
        except ValueError:
            found[name] = text
    return found


def _checked(wanted: dict[str, Any], old: PolicySettings | Any) -> dict[str, Any]:  # noqa: ANN401
    """Return the values, if each is a field of `old` and of its kind."""
    from policy_state.errors import InvalidSettings

    names = [field.name for field in fields(old)]
    for name, value in wanted.items():
        if name not in names:
            raise InvalidSettings(
                f"{printable(name)} is unknown, expected one of {', '.join(names)}"
            )
        kind = type(getattr(old, name))
        number = kind in {int, float} and isinstance(value, int | float) and value is not True
        if (
            name != "cost"
            and getattr(old, name) is not None
            and not (number if kind in {int, float} else isinstance(value, kind))
        ):
            raise InvalidSettings(f"{name} {printable(value)!r}, expected a {kind.__name__}")
        if kind is float and number:
            wanted[name] = float(value)
        if kind is int and isinstance(value, float):
            raise InvalidSettings(f"{name} {value}, expected a whole number")
    return wanted
