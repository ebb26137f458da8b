"""What is reported adds up, arrives whole, and is read back as it was, whatever names say."""

import contextlib
import os
import socket
import struct
import sys
import threading
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as read_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as read_text

from consumer.metrics import catalogue as m
from consumer.metrics.board import Board
from consumer.metrics.exposition import exposed
from consumer.metrics.gpu import gpu_figures
from consumer.metrics.report import Report, Reporter, ReportReader, ReportWriter, Turn
from consumer.metrics.server import MetricsPort
from consumer.metrics.tally import Tally
from consumer.settings.sections import MetricsSettings
from deploy.local.process import free_port
from tests.support.waiting import wait_for
from tests.support.workers.figures import Port

HOSTILE = ['a"b', "a\nb", "a\\n", "a\\", "{x=1}", "# HELP", "é\u2028\x00", "", " "]
LATENCIES = st.lists(st.floats(0, 1e6))


def figures(board, accept="text/plain"):
    """Return each sample of a board, as a reader of a format sees it."""
    body, content_type = exposed(board, accept=accept)
    read = read_openmetrics if content_type.startswith("application/openmetrics") else read_text
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in read(body.decode())
        for sample in family.samples
    }


@pytest.mark.parametrize("accept", ["text/plain", "application/openmetrics-text; version=1.0.0"])
def test_names_from_outside_break_no_line(accept):
    """Topics and allowed domains may have any characters; each comes back as one series."""
    board, tally = Board(["w"], stuck_s=1), Tally()
    for count, name in enumerate(HOSTILE, 1):
        tally.add(m.TEXTS, count, name, "0")
    gauges: dict[m.Key, float] = {(m.LAG.name, ("w", name, "0")): 7.0 for name in HOSTILE}
    board.take("w", Report(tally, Turn("", gauges)))
    found = figures(board, accept)
    for count, name in enumerate(HOSTILE, 1):
        assert found["offramp_texts_total", (("domain", name), ("exit", "0"))] == count
        labels = (("partition", "0"), ("topic", name), ("worker", "w"))
        assert found["offramp_partition_lag_records", labels] == 7


def test_counts_are_there_before_anything_is_counted():
    """So that a rate is right from the first event on."""
    found = figures(Board(["w"], stuck_s=1))
    for outcome in ("predicted", "dead_letter", "skipped"):
        assert found["offramp_records_total", (("outcome", outcome),)] == 0
    assert found["offramp_queueing_seconds_count", ()] == 0
    assert found["offramp_ready", (("worker", "w"),)] == 0


@given(LATENCIES, LATENCIES)
def test_distributions_add_up(first, second):
    """Those of two batches, merged, count all values, each in the buckets at or above it."""
    whole = Tally()
    for values in (first, second):
        part = Tally()
        for value in values:
            part.observe(m.PROCESSING, value)
        whole.merge(part)
    board = Board(["w"], stuck_s=1)
    board.take("w", Report(whole))
    found = figures(board)
    for bound in m.PROCESSING.buckets:
        below = sum(value <= bound for value in first + second)
        assert found["offramp_processing_seconds_bucket", (("le", str(bound)),)] == below
    assert found["offramp_processing_seconds_count", ()] == len(first + second)
    assert found["offramp_processing_seconds_sum", ()] == pytest.approx(sum(first + second))


def test_a_pipe_that_nobody_reads_loses_no_count():
    """What does not fit goes with a later report, and the worker never waits."""
    reader = ReportReader()
    reporter = Reporter(ReportWriter(os.dup(reader.writer_fd)).send)
    sent = 5_000
    for _ in range(sent):
        tally = Tally()
        tally.add(m.RECORDS, 1, "predicted")
        tally.observe(m.PROCESSING, 0.5)
        reporter.add(tally)
    whole = Tally()
    for _ in range(10):  # more often than a pipe has to be emptied
        reporter.turn("", {(m.HELD.name, ("w",)): 3.0}, Tally())
        for report in reader.read():
            whole.merge(report.added)
    assert whole.sums[m.RECORDS.name, ("predicted",)] == sent
    assert sum(whole.spreads[m.PROCESSING.name, ()].counts.values()) == sent
    assert report.turn == Turn("", {(m.HELD.name, ("w",)): 3.0})


def test_what_a_killed_worker_reported_stays_and_its_gauges_go():
    """Its counts are in the sums for as long as the supervisor lives."""
    board, tally = Board(["w-0", "w-1"], stuck_s=1), Tally()
    tally.add(m.RECORDS, 5, "predicted")
    for name in ("w-0", "w-1"):
        board.take(name, Report(tally, Turn("", {(m.HELD.name, (name,)): 3.0})))
    board.ended("w-0")
    found = figures(board)
    assert found["offramp_records_total", (("outcome", "predicted"),)] == 10
    assert found["offramp_worker_ends_total", ()] == 1
    assert ("offramp_held_texts", (("worker", "w-0"),)) not in found
    assert found["offramp_held_texts", (("worker", "w-1"),)] == 3
    assert board.not_ready() == ["w-0: starts"]


def test_a_worker_without_turns_is_not_alive():
    """Reports of batches are no turns of the main loop."""
    now = [100.0]
    board = Board(["w"], stuck_s=10, clock=lambda: now[0])
    now[0] += 9
    board.take("w", Report(Tally(), Turn("")))
    now[0] += 9
    board.take("w", Report(Tally()))
    assert board.not_alive() == []
    now[0] += 2
    assert board.not_alive() == ["w: no turn of its main loop for 11 s"]


def test_a_process_without_a_gpu_reports_none():
    """No series is better than one that says 0."""
    assert gpu_figures("w") == {}


def test_a_gpu_that_does_not_tell_its_use_still_reports_its_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A part of a GPU (MIG) refuses with an error of NVML, which ends no worker."""

    class NVMLErrorNotSupported(Exception):
        """As `pynvml` has it: an error of its own kind."""

    def utilization() -> int:
        raise NVMLErrorNotSupported

    cuda = SimpleNamespace(
        is_initialized=lambda: True,
        mem_get_info=lambda: (1, 4),
        memory_reserved=lambda: 3,
        utilization=utilization,
    )
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    assert gpu_figures("w") == {(m.GPU_USED.name, ("w",)): 3, (m.GPU_TOTAL.name, ("w",)): 4}


def test_every_metric_has_its_type_and_meaning_in_the_answer():
    """Readers of the port need no page."""
    body, _ = exposed(Board(["w"], stuck_s=1), accept="")
    families = {family.name: family for family in read_text(body.decode())}
    for metric in m.METRICS:
        family = families[metric.name.removesuffix("_total")]
        assert (family.type, family.documentation) == (metric.kind, metric.meaning)


def test_clients_that_never_finish_take_few_threads_and_hold_up_nobody():
    """A probe is answered while many connections send nothing, or a little."""
    settings = MetricsSettings(port=free_port())
    before = threading.active_count()
    with MetricsPort(Board(["w"], stuck_s=300), settings), contextlib.ExitStack() as stack:
        for number in range(100):
            client = stack.enter_context(socket.create_connection((settings.host, settings.port)))
            with contextlib.suppress(OSError):
                client.sendall(b"GET /metrics HTTP/1.1\r\nX: " if number % 2 else b"")
        assert Port(settings.port).get("/live") == (200, "ok\n")
        wait_for(lambda: threading.active_count() - before <= 33)


def test_a_reader_that_leaves_or_sends_nonsense_disturbs_nobody(capfd):
    """Nothing is written to the log of the worker, and the next reader has its answer."""
    settings = MetricsSettings(port=free_port())
    with MetricsPort(Board(["w"], stuck_s=1), settings):
        address = (settings.host, settings.port)
        for request in (b"GET /metrics HTTP/1.1\r\n\r\n", b"\xff\x00\r\n\r\n", b"x" * 100_000, b""):
            with socket.create_connection(address) as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.sendall(request)
        port = Port(settings.port)
        assert port.get("/ready") == (503, "w: starts\n")
        assert port.get("/live?x=1") == (200, "ok\n")
        assert port.figures()["offramp_ready"] == {(("worker", "w"),): 0}
        status, body = port.get("/metrics", Accept="text/plain; version=x")
        assert (status, "offramp_ready" in body) == (200, True)
    assert capfd.readouterr() == ("", "")
