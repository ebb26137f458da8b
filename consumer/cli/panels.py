"""The group of all commands: the panels they are read in, and wrong values in our words."""

from __future__ import annotations

from typing import Any, Final

import typer
from typer.core import TyperGroup

RUN: Final = "Run"
DAILY: Final = "Look and pin"
TOPICS: Final = "Topics and routes"
MODELS: Final = "Models"
LAB: Final = "Lab"
LOOK: Final = "Look"
CHANGE: Final = "Change"
MOVE: Final = "Move and repair"
_ORDER: Final = (RUN, DAILY, TOPICS, MODELS, LAB, LOOK, CHANGE, MOVE)


class InPanels(TyperGroup):
    """Commands in the order of their panels; typer alone puts all groups behind all commands."""

    def list_commands(self, _ctx: object) -> list[str]:
        """Return the names in the order of the help."""
        return sorted(self.commands, key=self._place)

    def _place(self, name: str) -> int:
        return _ORDER.index(getattr(self.commands[name], "rich_help_panel", RUN))

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401  (typer has no public name for it)
        """Run a command; a value of the wrong kind is told in our words, not in pydantic's."""
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            problems = getattr(error.__cause__, "errors", None)
            if problems is not None:
                from consumer.wording import sentence

                problem = problems()[0]
                error.message = f"{str(problem['input'])[:100]!r}, {sentence(problem)}"
            raise
