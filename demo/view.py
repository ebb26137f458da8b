"""What the demo shows: progress on stderr, the live table, and the summary on stdout."""

from __future__ import annotations

import io
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text as RichText

from consumer.cli.output import percent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from rich.console import RenderableType

    from policy_state.reports.domain import DomainReport

_WIDTH = 80  # columns: nothing is cut on a terminal of that width
_BAR = 16
_SHADES = "█▓▒░"
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


@dataclass(frozen=True, slots=True)
class DomainSummary:
    """How one domain fared. Accuracies are None where the texts have no labels."""

    domain: str
    events: int
    exit: int
    layer: int
    layers_saved: float
    agreement: float  # of the predictions with the last exit
    accuracy: float | None
    accuracy_last: float | None


@dataclass(frozen=True, slots=True)
class Summary:
    """How the whole demo fared."""

    events: int
    predictions: int
    duplicates: int
    events_per_second: float
    layers_run: int
    layers_at_full_depth: int
    agreement: float
    domains: tuple[DomainSummary, ...]


def live_table(
    reports: Mapping[str, DomainReport], domains: Sequence[str], *, total: int, rate: float
) -> Table:
    """Return the table of the moment: one row a domain."""
    done = sum(report.texts for report in reports.values())
    pace = f"{rate:,.0f} events/s" if done else "the workers are loading the model"
    table = Table(
        title=f"{done:,} of {total:,} events · {pace}",
        title_justify="left",
        title_style="bold",
        box=None,
        header_style="bold",
        pad_edge=False,
    )
    for name in ("domain", "events", "exit", "layer", "events per exit", "saved", "differs"):
        left = name in {"domain", "events per exit"}
        table.add_column(name, justify="left" if left else "right", overflow="fold")
    for domain in domains:
        report = reports.get(domain)
        if report is None or not report.texts:
            table.add_row(domain, "0", "-", "-", RichText("·" * _BAR, "dim"), "-", "-")
            continue
        table.add_row(
            domain,
            f"{report.texts:,}",
            str(report.exit),
            str(report.layer),
            _shares([e.share or 0.0 for e in report.exits]),
            percent(report.layers_saved),
            percent(report.disagreement),
        )
    return table


def summary_panel(summary: Summary) -> Panel:
    """Return the summary for people."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in (
        "domain",
        "learnt",
        "layers\nsaved",
        "same as at\nfull depth",
        "right",
        "right at\nfull depth",
    ):
        table.add_column(name, justify="left" if name == "domain" else "right", overflow="fold")
    for d in summary.domains:
        table.add_row(
            d.domain,
            f"exit {d.exit} (layer {d.layer})",
            percent(d.layers_saved),
            percent(d.agreement),
            percent(d.accuracy),
            percent(d.accuracy_last),
        )
    saved = 1 - summary.layers_run / max(1, summary.layers_at_full_depth)
    lines = RichText.assemble(
        (f"\n{summary.predictions:,} predictions for {summary.events:,} events", "bold"),
        f", {summary.duplicates} twice · {summary.events_per_second:,.0f} events/s\n",
        f"{summary.layers_at_full_depth - summary.layers_run:,} of "
        f"{summary.layers_at_full_depth:,} transformer layers not run ({saved:.1%}) · "
        f"{summary.agreement:.1%} of labels the same as at full depth",
    )
    grid = Table.grid()
    grid.add_row(table)
    grid.add_row(lines)
    return Panel(grid, title="What was learnt", title_align="left", expand=False)


def save_picture(path: Path, reports: Mapping[str, DomainReport], summary: Summary) -> None:
    """Write the last table and the summary as an SVG file."""
    screen = Console(record=True, file=io.StringIO(), width=_WIDTH)
    names = [d.domain for d in summary.domains]
    screen.print(live_table(reports, names, total=summary.events, rate=summary.events_per_second))
    screen.print(summary_panel(summary))
    screen.save_svg(str(path), title="make demo")


def _shares(shares: Sequence[float]) -> RichText:
    """Return a bar: one shade per exit, the shallowest darkest."""
    text = RichText()
    colours = ("green", "cyan", "blue", "magenta", "red", "yellow")
    ends = [round(sum(shares[: i + 1]) * _BAR) for i in range(len(shares))]
    start = 0
    for i, end in enumerate(ends):
        text.append(_SHADES[i % len(_SHADES)] * (end - start), colours[i % len(colours)])
        start = end
    return text
