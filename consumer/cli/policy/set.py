"""`offramp policy set`: settings for all workers at once."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Annotated, Any

import typer

from consumer.cli.common import Config, PolicyName, RedisUrl, SetRedis, printable
from consumer.cli.optional import NUMBER_OR_NONE, number_or_none
from consumer.cli.panels import CHANGE
from consumer.cli.policy.common import (
    By,
    Format,
    FormatOption,
    Reason,
    Yes,
    changing,
    confirm,
    emit,
    opened_policy,
    said,
    who,
)
from consumer.cli.together import without_effect

if TYPE_CHECKING:
    from policy_state.algorithms.settings import PolicySettings
    from policy_state.store.port import OpenedPolicy

SET_EXAMPLES = """Examples:

`offramp policy set --cost-weight 0.05 --reason "deeper exits are worth it"`

`offramp policy set --cost 0.1,0.3,0.6,1 --alpha 0.5`

`offramp policy set --tolerance 0.02`

`offramp policy set --tolerance none --cost-weight 0.1`

`offramp policy set --setting alpha=0.5 --setting domains=5000 --yes`
"""


Tolerance = Annotated[
    Any,
    typer.Option(
        parser=number_or_none(0, 1),
        metavar=NUMBER_OR_NONE,
        help="Extra error over the last exit to allow, in place of a cost weight.",
    ),
]


def add_to(app: typer.Typer) -> None:
    """Add the command to the group."""
    app.command("set", epilog=SET_EXAMPLES, rich_help_panel=CHANGE)(set_settings)


def set_settings(
    ctx: typer.Context,
    cost: Annotated[
        str | None, typer.Option(help="layers, split, or one number per exit: 0.1,0.5,1.")
    ] = None,
    cost_weight: Annotated[
        float | None,
        typer.Option(min=0, max=1e6, help="What full depth costs, in units of error."),
    ] = None,
    alpha: Annotated[
        float | None,
        typer.Option(min=0, max=1e6, help="Width of the exploration bonus."),
    ] = None,
    tolerance: Tolerance = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--setting", metavar="NAME=VALUE", help="Any setting or limit."),
    ] = None,
    config: Config = None,
    redis_url: RedisUrl = None,
    policy: PolicyName = None,
    reason: Reason = "",
    by: By = None,
    yes: Yes = False,
    set_: SetRedis = None,
    output: FormatOption = Format.TABLE,
) -> None:
    """Change the settings of a policy for all its workers at once.

    They take them with their next answer from Redis; counters stay. The revision rises, and of two
    changes at the same time one is told to look again.
    """
    from policy_state.options import UNSET, parse_options, with_values

    if tolerance not in {None, UNSET}:
        without_effect(ctx, {"cost_weight"}, "with --tolerance, which takes its place")
    named = {"cost": cost, "cost_weight": cost_weight, "alpha": alpha, "tolerance": tolerance}
    wanted = {name: value for name, value in named.items() if value is not None}
    with opened_policy(config, redis_url, policy, set_) as store:
        opened = store.describe()
        more = parse_options(setting or ())
        if twice := sorted(wanted.keys() & more.keys()):
            raise typer.BadParameter(f"{twice[0]} is given twice, by --setting and by its option")
        wanted |= more
        limits = with_values(opened.meta.limits, _limits(opened, wanted))
        settings = _settings(opened, wanted)
        before = asdict(opened.meta.settings) | asdict(opened.meta.limits)
        after = asdict(settings) | asdict(limits)
        rows = [
            {"name": name, "before": before[name], "after": after[name]}
            for name in after
            if before[name] != after[name]
        ]
        lines = [f"  {row['name']}: {said(row['before'])} -> {said(row['after'])}" for row in rows]
        if rows:
            title = f"policy {printable(opened.meta.name)}, settings of all its workers:"
            confirm("\n".join([title, *map(printable, lines)]), yes=yes)
            with changing():
                opened = store.configure(
                    settings, limits, revision=opened.revision, by=who(by), reason=reason
                )
        emit(
            output,
            "policy-set",
            rows,
            rows_name="changes",
            empty="nothing to change",
            columns=["name", "before", "after"],
            policy=opened.meta.name,
            revision=opened.revision,
        )


def _limits(opened: OpenedPolicy, wanted: dict[str, Any]) -> dict[str, Any]:
    """Take the limits out of what is wanted, and return them."""
    names = wanted.keys() & {field.name for field in fields(opened.meta.limits)}
    return {name: wanted.pop(name) for name in names}


def _settings(opened: OpenedPolicy, wanted: dict[str, Any]) -> PolicySettings:
    """Return the settings with what is wanted changed, checked against the exits."""
    from policy_state.algorithms.base import build
    from policy_state.errors import InvalidPolicySettings
    from policy_state.options import with_values

    if wanted.get("cost") == "measured":
        raise InvalidPolicySettings(
            "cost 'measured' is read from the model's costs.json when the policy is created; give "
            "its numbers here, such as --cost 0.2,0.5,1"
        )
    settings = with_values(opened.meta.settings, wanted)
    build(settings, opened.meta.layers)
    return settings
