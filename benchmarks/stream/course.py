"""The course of a long run: what was seen when, thirds of it that are compared, and its picture."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

_THIRDS = 3
_WARM_UP = 0.1  # of the time, which is left out


@dataclass
class Course:
    """What happened, by seconds since the start."""

    begun: float = field(default_factory=time.monotonic)
    samples: list[tuple[float, float, int]] = field(default_factory=list)  # MiB, descriptors
    latencies: list[tuple[float, float]] = field(default_factory=list)  # ms
    blows: list[tuple[float, str]] = field(default_factory=list)
    seen: Counter[str] = field(default_factory=Counter)  # predictions, by id
    sent: int = 0

    def now(self) -> float:
        """Return the seconds since the start."""
        return time.monotonic() - self.begun


def by_minute(points: Sequence[tuple[float, float]], share: float) -> list[tuple[float, float]]:
    """Return a quantile of each minute."""
    minutes: dict[int, list[float]] = {}
    for at, value in points:
        minutes.setdefault(int(at // 60), []).append(value)
    return [
        (60.0 * minute, sorted(values)[int(share * (len(values) - 1))])
        for minute, values in sorted(minutes.items())
    ]


def thirds(points: Sequence[tuple[float, float]]) -> list[float]:
    """Return the medians of the three thirds of the time after the first tenth."""
    begin, end = points[0][0], points[-1][0] + 1e-9
    first = begin + _WARM_UP * (end - begin)
    found: list[list[float]] = [[] for _ in range(_THIRDS)]
    for at, value in points:
        if at >= first:
            found[int(_THIRDS * (at - first) / (end - first))].append(value)
    return [statistics.median(values or [points[-1][1]]) for values in found]


def plot(course: Course, path: Path) -> None:
    """Write memory, descriptors and latency over time as PNG, with a line for every blow."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 7), layout="constrained")
    FigureCanvasAgg(figure)
    memory, descriptors, latency = figure.subplots(3, 1, sharex=True)
    minutes = [at / 60 for at, _, _ in course.samples]
    memory.plot(minutes, [mib for _, mib, _ in course.samples])
    memory.set_ylabel("memory (MiB)")
    descriptors.plot(minutes, [count for *_, count in course.samples])
    descriptors.set_ylabel("descriptors")
    for share in (0.5, 0.99):
        points = by_minute(course.latencies, share)
        latency.plot(
            [at / 60 for at, _ in points], [ms for _, ms in points], label=f"p{share * 100:.0f}"
        )
    latency.set_ylabel("latency (ms)")
    latency.set_yscale("log")
    latency.set_xlabel("minutes; grey lines: another worker was killed, stopped or frozen")
    latency.legend()
    memory.set_ylim(0, 1.2 * max(mib for _, mib, _ in course.samples))
    descriptors.set_ylim(bottom=0)
    for axes in (memory, descriptors, latency):
        for struck_at, _ in course.blows:
            axes.axvline(struck_at / 60, color="grey", alpha=0.3, linewidth=0.8)
    figure.savefig(path, dpi=110)
