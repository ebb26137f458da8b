"""The panels that a long list of commands is read in, and their order."""

from __future__ import annotations

from typing import Final

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
