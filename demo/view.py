"""What the demo shows: progress on stderr, the live table, and the summary on stdout."""

from __future__ import annotations

import io
import re
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text as RichText

from consumer.cli.output import percent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from rich.console import RenderableType

    from demo.summary import Summary
    from policy_state.reports.domain import DomainReport

_WIDTH = 80  # columns: nothing is cut on a terminal of that width
_BAR = 12
_NUMBERS = "0123456789abcdefghijklmnopqrstuvwxyz"  # exits tell apart without colour, too
_COLOURS = ("green", "cyan", "blue", "magenta", "red", "yellow", "white")
_EVERY_S: Final = 5.0  # between two lines, where nothing can be drawn over
NEXT_STEPS: Final = (
    ("make demo ARGS=--keep", "leaves it running, for exploring"),
    ('make demo ARGS="--input mine=texts.csv"', "streams texts of yours"),
    (".venv/bin/offramp worker --help", "for a Kafka and a Redis of yours"),
)


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


def live_table(
    reports: Mapping[str, DomainReport],
    counts: Mapping[str, int],
    domains: Sequence[str],
    *,
    total: int,
    rate: float,
) -> Table:
    """Return the table of the moment: one row a domain.

    Args:
        reports: Of the domains that have any texts counted.
        counts: How many predictions each domain has.
        domains: All of them.
        total: Events there will be.
        rate: Events a second.
    """
    done = sum(counts.values())
    pace = f"{rate:,.0f} events/s" if done else "the workers are loading the model"
    table = _table(title=f"{done:,} of {total:,} events · {pace}")
    for name in ("domain", "events", "exit", "layer", "events per exit", "saved", "differs"):
        left = name in {"domain", "events per exit"}
        table.add_column(name, justify="left" if left else "right", overflow="fold")
    for domain in domains:
        report, events = reports.get(domain), f"{counts.get(domain, 0):,}"
        if report is None or not report.texts:
            table.add_row(domain, events, "-", "-", RichText("·" * _BAR, "dim"), "-", "-")
            continue
        table.add_row(
            domain,
            events,
            str(report.exit),
            str(report.layer),
            _bar([e.share or 0.0 for e in report.exits]),
            percent(report.layers_saved),
            percent(report.disagreement),
        )
    return table


def summary_view(summary: Summary) -> Group:
    """Return the summary for people."""
    figures = _table(title="What was learnt")
    for name in (
        "domain",
        "exit",
        "layer",
        "events per exit",
        "layers\nsaved",
        "same as\nfull depth",
        "right",
        "right at\nfull depth",
    ):
        left = name in {"domain", "events per exit"}
        figures.add_column(name, justify="left" if left else "right", overflow="fold")
    reasons = Table.grid(padding=(0, 2, 0, 0))
    for _ in range(2):
        reasons.add_column(overflow="fold")
    for d in summary.domains:
        name = f"{d.domain}, later" if d.later else d.domain
        figures.add_row(
            name,
            str(d.exit),
            str(d.layer),
            _bar(d.shares),
            percent(d.layers_saved),
            f"{d.holdout.share:.0%} ±{100 * d.holdout.within:.0f}" if d.holdout else "-",
            percent(d.accuracy),
            percent(d.accuracy_last),
        )
        reasons.add_row(name, d.why)
        for warning in d.warnings:
            reasons.add_row("", RichText(f"Careful: {warning}.", "yellow"))
    price = f"Price: all layers may cost as much as {100 * summary.price:.3g} errors in 100 texts."
    return Group(figures, "", reasons, price, "", _totals(summary))


def _totals(summary: Summary) -> RichText:
    saved = 1 - summary.layers_run / max(1, summary.layers_at_full_depth)
    slower = summary.compute_at_full_depth_s / max(1e-9, summary.compute_s)
    lines = RichText.assemble(
        (f"{summary.predictions:,} predictions for {summary.events:,} events", "bold"),
        f", {summary.duplicates} twice · {summary.events_per_second:,.0f} events/s\n",
        f"{summary.layers_at_full_depth - summary.layers_run:,} of "
        f"{summary.layers_at_full_depth:,} layers not run ({saved:.0%}) · "
        f"{summary.agreement:.1%} of labels as at full depth\n",
        f"{summary.compute_s:.0f} s of computing; full depth would have taken "
        f"{summary.compute_at_full_depth_s:.0f} s, {slower:.1f} times as long",
    )
    for drift in summary.drifts:
        lines.append(f"\n{drift.in_words}")
    return lines


def next_steps() -> Group:
    """Return what to try after the demo."""
    steps = Table.grid(padding=(0, 2, 0, 0))
    steps.add_column(no_wrap=True)
    for command, what in NEXT_STEPS:
        steps.add_row(RichText(command, "cyan"), what)
    return Group(RichText("Try next", "bold"), steps)


def save_picture(path: Path, summary: Summary) -> None:
    """Write the summary as an SVG file."""
    screen = Console(record=True, file=io.StringIO(), width=_WIDTH, highlight=False)
    screen.print(summary_view(summary))
    drawn = screen.export_svg(title="make demo")
    drawn = re.sub(r"@font-face \{.*?\}", "", drawn, flags=re.DOTALL)  # fetched from a server
    path.write_text(drawn, encoding="utf-8")


def _table(title: str) -> Table:
    return Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=None,
        header_style="bold",
        pad_edge=False,
    )


def _bar(shares: Sequence[float]) -> RichText:
    """Return a bar of the exits' numbers, each as often as it has events."""
    text = RichText()
    ends = [round(sum(shares[: i + 1]) * _BAR) for i in range(len(shares))]
    start = 0
    for i, end in enumerate(ends):
        text.append(_NUMBERS[i % len(_NUMBERS)] * (end - start), _COLOURS[i % len(_COLOURS)])
        start = end
    return text
