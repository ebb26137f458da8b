"""The figures of a board in the formats that Prometheus reads."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING, TypeVar

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)

from consumer.metrics.catalogue import METRICS, Metric
from consumer.metrics.tally import Spread, Tally

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.metrics_core import Metric as Family

    from consumer.metrics.board import Board
    from consumer.metrics.catalogue import Key

_T = TypeVar("_T")


def exposed(board: Board, *, accept: str) -> tuple[bytes, str]:
    """Return all metrics and their content type, in the format that a reader accepts."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Figures(board))
    try:
        encode, content_type = choose_encoder(accept)
    except TypeError:  # a version that is not made of numbers
        encode, content_type = choose_encoder("")
    return encode(registry), content_type


class _Figures:
    """A board as prometheus-client reads it."""

    def __init__(self, board: Board) -> None:
        self._board = board

    def collect(self) -> Iterator[Family]:
        """Yield each metric with its series."""
        tally, gauges = self._board.figures()
        for metric in METRICS:
            if metric.kind == "counter":
                yield _counter(metric, tally)
            elif metric.kind == "histogram":
                yield _histogram(metric, tally)
            else:
                yield _gauge(metric, gauges)


def _counter(metric: Metric, tally: Tally) -> Family:
    family = CounterMetricFamily(metric.name, metric.meaning, labels=metric.labels)
    zeros = dict.fromkeys(metric.keys(), 0.0)
    for (_, labels), amount in sorted((zeros | _of(metric, tally.sums)).items()):
        family.add_metric(labels, amount)
    return family


def _histogram(metric: Metric, tally: Tally) -> Family:
    family = HistogramMetricFamily(metric.name, metric.meaning, labels=metric.labels)
    bounds = [*(str(float(bound)) for bound in metric.buckets), "+Inf"]
    nothing = Spread()
    found = dict.fromkeys(metric.keys(), nothing) | _of(metric, tally.spreads)
    for (_, labels), spread in sorted(found.items(), key=lambda each: each[0]):
        each = (spread.counts.get(bucket, 0) for bucket in range(len(bounds)))
        counts = zip(bounds, accumulate(each), strict=True)
        family.add_metric(labels, [(bound, float(upto)) for bound, upto in counts], spread.total)
    return family


def _gauge(metric: Metric, gauges: dict[Key, float]) -> Family:
    family = GaugeMetricFamily(metric.name, metric.meaning, labels=metric.labels)
    for (_, labels), value in sorted(_of(metric, gauges).items()):
        family.add_metric(labels, value)
    return family


def _of(metric: Metric, found: dict[Key, _T]) -> dict[Key, _T]:
    return {key: value for key, value in found.items() if key[0] == metric.name}
