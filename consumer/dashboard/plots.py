"""Lines over the samples of a domain, as the points of SVG elements.

Samples are taken twice a doubling of texts, and a reset starts at none again. So each step to the
right is one sample, and the numbers under the axis are texts since the domain's last start.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

WIDTH: Final = 640
HEIGHT: Final = 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 62, 22, 26
_TICKS: Final = 4
_LABELS: Final = 6  # under the axis
_APART: Final = 11  # labels at the ends of lines
_COLOURS: Final = 8
_LEAST_SPAN: Final = 0.05
_THOUSAND: Final = 1000

Band = tuple[float, float, float]
"""A value, and the ends of its band."""


@dataclass(frozen=True, slots=True)
class Series:
    """What is to be drawn: lines by name, each with one value per sample."""

    id: str
    title: str
    about: str
    lines: Mapping[str, Sequence[Band | None]]  # None: not known
    percent: bool
    whole: bool = False  # whether the axis goes from 0 to 100 %
    banded: bool = True


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a plot: pieces where values are known, and a label at its end."""

    name: str
    number: int  # of its colour
    pieces: list[str]
    bands: list[str]
    label_y: float
    label_x: float


@dataclass(frozen=True, slots=True)
class Mark:
    """A vertical line: something happened between two samples."""

    x: float
    kind: str
    text: str
    labelled: bool  # whether there is room for its kind above the plot


@dataclass(frozen=True, slots=True)
class Plot:
    """Everything that the template draws."""

    title: str
    about: str
    lines: list[Line]
    marks: Sequence[Mark]
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    rows: list[list[str]]  # the same as a table, the first row is its head


def plot(series: Series, texts: Sequence[int], marks: Sequence[Mark]) -> Plot:
    """Return where everything is drawn; `texts` is what each sample had."""
    low, high = _ends(series)

    def y(value: float) -> float:
        within = min(max(value, low), high)
        return round(_TOP + (high - within) / (high - low) * (HEIGHT - _TOP - _BOTTOM), 1)

    many, under = len(texts), [_short(each) for each in texts]
    every = max(1, -(-many // _LABELS))
    levels = [low + (high - low) * at / _TICKS for at in range(_TICKS + 1)]
    lines = [
        _line(name, number % _COLOURS, values, y, banded=series.banded)
        for number, (name, values) in enumerate(series.lines.items())
        if any(values)
    ]
    rows = zip(*series.lines.values(), strict=True)
    return Plot(
        series.title,
        series.about,
        _apart(lines),
        marks,
        [(x_of(at, many), under[at]) for at in range((many - 1) % every, many, every)],
        [(y(v), f"{v:.0%}" if series.percent else f"{v:z.2f}") for v in levels],
        [
            ["texts", *series.lines],
            *(
                [t, *(_written(v, percent=series.percent) for v in row)]
                for t, row in zip(under, rows, strict=True)
            ),
        ],
    )


def x_of(at: int, many: int) -> float:
    """Return where a sample is drawn."""
    return round(_LEFT + at / max(1, many - 1) * (WIDTH - _LEFT - _RIGHT), 1)


def _ends(series: Series) -> tuple[float, float]:
    """Return the ends of the axis. Wide bands of few texts are cut: the lines set the scale."""
    if series.whole:
        return 0.0, 1.0
    known = [v for line in series.lines.values() for v in line if v is not None]
    if series.percent:
        return max(0.0, min([1.0 - _LEAST_SPAN, *(v[1] for v in known)])), 1.0
    low, high = min((v[0] for v in known), default=0.0), max((v[0] for v in known), default=1.0)
    room = max(0.01, high - low)
    return low - 0.15 * room, high + 0.35 * room


def _line(
    name: str,
    number: int,
    values: Sequence[Band | None],
    y: Callable[[float], float],
    *,
    banded: bool,
) -> Line:
    points = [(x_of(at, len(values)), value) for at, value in enumerate(values)]
    pieces, bands, run = [], [], list[tuple[float, Band]]()
    for x, value in [*points, (0.0, None)]:
        if value is not None:
            run.append((x, value))
            continue
        if len(run) > 1:
            pieces.append(" ".join(f"{at},{y(v[0])}" for at, v in run))
            if banded:
                upper = [f"{at},{y(v[2])}" for at, v in run]
                bands.append(" ".join(upper + [f"{at},{y(v[1])}" for at, v in reversed(run)]))
        run = []
    x, last = [(x, v) for x, v in points if v is not None][-1]
    return Line(name, number, pieces, bands, y(last[0]), x + 6)


def _apart(lines: list[Line]) -> list[Line]:
    """Move the labels at the ends of lines so that none covers another."""
    by_height = sorted(lines, key=lambda line: line.label_y)
    heights, floor = [], float(_TOP)
    for line in by_height:
        heights.append(max(line.label_y, floor))
        floor = heights[-1] + _APART
    ceiling = float(HEIGHT - _BOTTOM)
    for at in range(len(heights) - 1, -1, -1):
        heights[at] = min(heights[at], ceiling)
        ceiling = heights[at] - _APART
    placed = [replace(line, label_y=y) for line, y in zip(by_height, heights, strict=True)]
    return sorted(placed, key=lambda line: line.number)


def _written(value: Band | None, *, percent: bool) -> str:
    if value is None:
        return "-"
    middle, low, high = (f"{v:.1%}" if percent else f"{v:z.4f}" for v in value)
    return middle if low == high else f"{middle} ({low} to {high})"


def _short(texts: int) -> str:
    """Return a number of texts in a few characters.

    >>> _short(96), _short(12_288), _short(3_145_728)
    ('96', '12k', '3.1M')
    """
    for size, unit in ((_THOUSAND**2, "M"), (_THOUSAND, "k")):
        if texts >= size:
            few = texts < 10 * size
            return f"{texts / size:.{int(few)}f}".removesuffix(".0") + unit
    return str(texts)
