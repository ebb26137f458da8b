"""Groups of commands: their panels in the help, shared options, and errors in our words."""

from __future__ import annotations

from dataclasses import MISSING, fields, is_dataclass
from inspect import Parameter, Signature, signature
from typing import TYPE_CHECKING, Any, Final, TypeVar, get_type_hints

import typer
from typer.core import TyperGroup

if TYPE_CHECKING:
    from collections.abc import Callable, Container

    Command = TypeVar("Command", bound=Callable[..., Any])

RUN: Final = "Run"
DAILY: Final = "Look and pin"
TOPICS: Final = "Topics and routes"
MODELS: Final = "Models"
LAB: Final = "Lab"
LOOK: Final = "Look"
CHANGE: Final = "Change"
MOVE: Final = "Move and repair"
_ORDER: Final = (RUN, DAILY, TOPICS, MODELS, LAB, LOOK, CHANGE, MOVE)
_TYPED: Final = "COMMANDLINE"  # not from a variable, which is there for other commands too


class InPanels(TyperGroup):
    """Lists commands in the order of their panels; typer puts all groups after all commands."""

    def list_commands(self, _ctx: object) -> list[str]:
        """Return the names in the order of the help."""
        return sorted(self.commands, key=self._place)

    def _place(self, name: str) -> int:
        return _ORDER.index(getattr(self.commands[name], "rich_help_panel", None) or RUN)

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401  (typer has no public name for it)
        """Run a command; report a wrong value in our words, not in those of pydantic."""
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            problems = getattr(error.__cause__, "errors", None)
            if problems is not None:
                from consumer.section import sentence

                problem = problems()[0]
                value = f"{str(problem['input'])[:100]!r}"
                said = sentence(problem).replace(f"{value} is not one of ", "expected one of ")
                error.message = f"{value}, {said}"
            raise


class Commands(typer.Typer):
    """A group whose commands may take shared options as one value.

    A parameter whose type is a dataclass stands for the options that are its fields. Those of a
    dataclass with `shown_last` come after the command's own in the help.
    """

    def command(self, name: str | None = None, **kwargs: Any) -> Callable[[Command], Command]:  # noqa: ANN401
        """Return a decorator that adds a command."""
        add = super().command(name, **kwargs)

        def decorator(run: Command) -> Command:
            add(_with_fields_as_options(run))
            return run

        return decorator


def _with_fields_as_options(run: Callable[..., Any]) -> Callable[..., Any]:
    """Return a command that typer can read: none of its parameters is a dataclass."""
    kinds = get_type_hints(run, include_extras=True)
    shared = {name: kinds[name] for name in signature(run).parameters if is_dataclass(kinds[name])}
    parameters: list[Parameter] = []
    last: list[Parameter] = []
    for name, given in signature(run).parameters.items():
        if name in shared:
            group = last if getattr(shared[name], "shown_last", False) else parameters
            group += _options(shared[name])
        else:
            parameters.append(given.replace(kind=Parameter.KEYWORD_ONLY, annotation=kinds[name]))

    parameters += last

    def command(**values: Any) -> Any:  # noqa: ANN401  (whatever the command returns)
        for name, kind in shared.items():
            values[name] = kind(**{each.name: values.pop(each.name) for each in fields(kind)})
        return run(**values)

    command.__name__, command.__doc__ = run.__name__, run.__doc__
    command.__annotations__ = {each.name: each.annotation for each in parameters}
    command.__signature__ = Signature(parameters)  # type: ignore[attr-defined]  # inspect reads it
    return command


def _options(kind: type[Any]) -> list[Parameter]:
    kinds = get_type_hints(kind, include_extras=True)
    return [
        Parameter(
            each.name,
            Parameter.KEYWORD_ONLY,
            default=Parameter.empty if each.default is MISSING else each.default,
            annotation=kinds[each.name],
        )
        for each in fields(kind)
    ]


def without_effect(ctx: typer.Context, names: Container[str], where: str) -> None:
    """Refuse options that were given but have no effect here.

    Args:
        ctx: The context of the command.
        names: The parameters that have no effect.
        where: The end of the message: with or without what they have no effect.
    """
    for param in ctx.command.params:
        source = ctx.get_parameter_source(param.name or "")
        if param.name in names and source is not None and source.name == _TYPED:
            raise typer.BadParameter(f"{param.opts[0]} has no effect {where}")
