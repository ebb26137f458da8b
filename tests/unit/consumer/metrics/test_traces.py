"""Spans of batches, as a receiver has them."""

from types import SimpleNamespace
from typing import Any

import pytest

from consumer.events.record import BatchOutcome, Record
from consumer.laps import Lap
from consumer.metrics.traces import Traces
from consumer.worker.reporting import Observer, traces_to
from tests.support.servers.collector import Collector, values

SETTINGS: Any = SimpleNamespace(kafka=SimpleNamespace(group="g"), instance="w")
RECORDS = [Record("a", 0, 1, 0, None, b"x"), Record("b", 0, 1, 0, None, b"x")]


@pytest.fixture
def collector(monkeypatch):
    """What receives the spans of a test."""
    with Collector() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        yield collector


def test_a_batch_that_is_given_back_is_a_span_with_an_error(collector):
    """It names the class of the error, and not what the error says."""
    traces = traces_to(SETTINGS)
    batch: Any = SimpleNamespace(records=RECORDS, begun=5.0, taken=6.0, taken_at=1000.0)
    observer = Observer(traces)
    observer.given_back([batch], OSError("a text"))
    observer.close()
    (span,) = collector.spans
    assert span.start_time_unix_nano == 999 * 10**9
    assert (span.name, span.status.code) == ("process", span.status.STATUS_CODE_ERROR)
    assert values(span.attributes)["error.type"] == "OSError"
    assert "messaging.destination.name" not in values(span.attributes)  # there are two
    assert b"a text" not in collector.bodies


def test_a_batch_that_is_not_sampled_sends_nothing(collector, monkeypatch):
    """The standard variables choose the sampler."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    traces = Traces(group="g", instance="w")
    traces.committed(RECORDS, BatchOutcome((), ()), {"poll": Lap(1.0, 2.0)}, since_1970_s=0)
    traces.close()
    assert collector.spans == []


def test_without_an_endpoint_there_are_no_traces(monkeypatch):
    """Nothing is imported, and no thread begins."""
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    assert traces_to(SETTINGS) is None
