"""Where the demo's words go: the result to stdout, what happens meanwhile to stderr."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.live import Live

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import RenderableType
    from rich.table import Table

_EVERY_S: Final = 5.0  # between two lines, where nothing can be drawn over


class Screen:
    """Draws over what it has drawn on a terminal that can do so, and prints lines elsewhere."""

    def __init__(self, *, json: bool) -> None:
        """Write nothing yet; with `json` stdout is left to the caller."""
        self._progress = Console(stderr=True, highlight=False)
        self._result = self._progress if json else Console(highlight=False)
        self._draws = self._progress.is_terminal and not self._progress.is_dumb_terminal

    def say(self, text: str, *, style: str | None = None) -> None:
        """Tell what happens."""
        self._progress.print(text, style=style, markup=False, soft_wrap=True)

    def error(self, error: Exception) -> None:
        """Tell why it ends."""
        self.say(f"error: {error}", style="bold red")

    @contextmanager
    def doing(self, what: str) -> Iterator[None]:
        """Tell what takes a while."""
        if self._draws:
            with self._progress.status(what):
                yield
        else:
            self.say(what)
            yield

    @contextmanager
    def live(self, first: Table) -> Iterator[Callable[[Table], None]]:
        """Yield what shows a table in place of the last one, or its title now and then."""
        if self._draws:
            with Live(first, console=self._progress, transient=True) as live:
                yield live.update
            return
        said = time.monotonic()

        def show(table: Table) -> None:
            nonlocal said
            if time.monotonic() - said > _EVERY_S:
                said = time.monotonic()
                self.say(str(table.title))

        yield show

    def result(self, *parts: RenderableType) -> None:
        """Print what has come out."""
        for part in parts:
            self._result.print(part)
