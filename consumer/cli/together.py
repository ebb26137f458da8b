"""Options that have no effect beside others: refused, rather than passed over in silence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import typer

if TYPE_CHECKING:
    from collections.abc import Container

_TYPED: Final = "COMMANDLINE"  # not from a variable, which is there for other commands too


def without_effect(ctx: typer.Context, names: Container[str], where: str) -> None:
    """Refuse those of a command's options that were given, and do nothing here.

    Args:
        ctx: Of the command.
        names: Of its parameters.
        where: The end of the message: beside what, or without what, they do nothing.
    """
    for param in ctx.command.params:
        source = ctx.get_parameter_source(param.name or "")
        if param.name in names and source is not None and source.name == _TYPED:
            raise typer.BadParameter(f"{param.opts[0]} has no effect {where}")
