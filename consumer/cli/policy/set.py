"""`offramp policy set`: settings for all workers at once."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from consumer.cli.commands import CHANGE, Commands
from consumer.cli.output import Output, OutputOption, emit, printable, said
from consumer.cli.session import OnPolicy, Signed, changing, confirm
from policy_state.options import UNSET

SET_EXAMPLES = """Examples:

`offramp policy set cost_weight=0.05 --reason "deeper exits are worth it"`

`offramp policy set cost=0.1,0.3,0.6,1 alpha=0.5`

`offramp policy set tolerance=0.02`

`offramp policy set tolerance=none cost_weight=0.1`

`offramp policy set gate=0.99 --reason "sure texts need not go deep"`

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
    from policy_state.algorithms.base import build
    from policy_state.errors import InvalidInput
    from policy_state.options import parse_options, with_values

    wanted = parse_options(values)
    if wanted.get("cost") == "measured":
        raise InvalidInput(
            "cost 'measured' is read from the model's costs.json when the policy is created; give "
            "its numbers here, such as cost=0.2,0.5,1"
        )
    if "cost_weight" in wanted and wanted.get("tolerance", UNSET) != UNSET:
        raise typer.BadParameter(
            "cost_weight has no effect together with tolerance, which replaces it"
        )
    with given.opened() as (_, store):
        opened = store.describe()
        meta = opened.meta
        before = asdict(meta.settings) | asdict(meta.limits)
        names = wanted.keys() & asdict(meta.limits).keys()
        limits = with_values(meta.limits, {name: wanted.pop(name) for name in names})
        settings = with_values(meta.settings, wanted)
        if settings.gate and not meta.calibrated:
            raise InvalidInput(
                f"gate={settings.gate:g} needs a calibrated model, and that of policy "
                f"{meta.name} is not; calibrate it with `offramp model calibrate`"
            )
        build(settings, meta.layers)  # which checks them against the exits
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
