"""`offramp policy set`: settings for all workers at once."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Annotated, Any

import typer

from consumer.cli.commands import CHANGE, Commands
from consumer.cli.output import Output, OutputOption, emit, printable, said
from consumer.cli.session import OnPolicy, Signed, changing, confirm
from policy_state.options import UNSET

if TYPE_CHECKING:
    from policy_state.algorithms.settings import PolicySettings
    from policy_state.store.values import OpenedPolicy

SET_EXAMPLES = """Examples:

`offramp policy set cost_weight=0.05 --reason "deeper exits are worth it"`

`offramp policy set cost=0.1,0.3,0.6,1 alpha=0.5`

`offramp policy set tolerance=0.02`

`offramp policy set tolerance=none cost_weight=0.1`

`offramp policy set domains=5000 --yes`
"""

app = Commands()


@app.command("set", epilog=SET_EXAMPLES, rich_help_panel=CHANGE)
def set_settings(
    values: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME=VALUE",
            help="Settings such as cost_weight=0.05 or cost=0.1,0.5,1; limits as domains=5000.",
        ),
    ],
    given: OnPolicy,
    signed: Signed,
    output: OutputOption = Output.TABLE,
) -> None:
    """Change the settings of a policy for all its workers at once.

    Workers apply them with their next answer from Redis, without a restart. The counters stay. If
    two people change the settings at the same time, the second one gets an error and can look
    again.
    """
    from policy_state.options import parse_options, with_values

    wanted = parse_options(values)
    if "cost_weight" in wanted and wanted.get("tolerance", UNSET) != UNSET:
        raise typer.BadParameter(
            "cost_weight has no effect together with tolerance, which replaces it"
        )
    with given.opened() as (_, store):
        opened = store.describe()
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
            confirm("\n".join([title, *map(printable, lines)]), yes=signed.yes)
            with changing():
                opened = store.configure(
                    settings,
                    limits,
                    revision=opened.revision,
                    by=signed.who,
                    reason=signed.reason,
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
    from policy_state.errors import InvalidInput
    from policy_state.options import with_values

    if wanted.get("cost") == "measured":
        raise InvalidInput(
            "cost 'measured' is read from the model's costs.json when the policy is created; give "
            "its numbers here, such as cost=0.2,0.5,1"
        )
    settings = with_values(opened.meta.settings, wanted)
    build(settings, opened.meta.layers)
    return settings
