"""Starts a worker, and runs it until a signal."""

from __future__ import annotations

import gc
import logging
import threading
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

from consumer.kafka.stream import KafkaStream
from consumer.keeping.keeper import Keeper
from consumer.metrics.board import Board
from consumer.metrics.report import Reporter, ReportWriter
from consumer.offramp import Offramp
from consumer.opening import load_engine
from consumer.process.log_lines import log_to_stderr
from consumer.process.signals import START_S, Heed, Stopped, finish_on_signal
from consumer.routes.route import subscription
from consumer.settings.problems import redacted_url
from consumer.worker.reporting import observer
from consumer.worker.waiting import wait_for
from consumer.worker.watchdog import Watchdog
from consumer.worker.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from consumer.opening import Inference
    from consumer.settings.load import Settings

log = logging.getLogger("offramp")

_CLOSING_S: Final = 5.0  # to close everything but the connections to Kafka


def run_worker(
    settings: Settings,
    *,
    log_level: str,
    engine: Inference | None = None,
    reached: Callable[[str], None] = lambda _: None,
    report_fd: int | None = None,
) -> None:
    """Run a worker until SIGTERM or SIGINT, then finish the open batches; a second one ends it.

    While the worker starts, no batch is open, and a signal ends it within a second.

    Args:
        settings: the settings of the worker.
        log_level: debug, info, warning or error.
        engine: the model to run; by default the one that the settings name.
        reached: see `KafkaStream`.
        report_fd: the pipe to the supervisor that serves `metrics.port` for this worker.

    Raises:
        ConsumerError, PolicyStateError, ModelError: the worker cannot start, or cannot continue.
    """
    log_to_stderr(log_level, form=settings.log.format, instance=settings.instance)
    try:
        Heed(code=0, within_s=START_S).begin()
        with reporting(settings, report_fd) as reporter:
            reporter.starting("loads its model")
            _run(settings, engine or load_engine(settings), reached, reporter)
    except Stopped as stopped:
        log.info("stopped before it started instance=%s by=%s", settings.instance, stopped)
        return
    log.info("stopped instance=%s", settings.instance)


@contextmanager
def reporting(settings: Settings, report_fd: int | None) -> Iterator[Reporter]:
    """Yield what the worker reports to: a supervisor, its own port, or nobody.

    Raises:
        InvalidSettings: the port cannot be used.
    """
    if report_fd is not None:
        yield Reporter(ReportWriter(report_fd).send)
    elif settings.metrics.port:
        from consumer.metrics.server import MetricsPort

        board = Board([settings.instance], stuck_s=settings.worker.stuck_s)
        with MetricsPort(board, settings.metrics):
            yield Reporter(partial(board.take, settings.instance))
    else:
        yield Reporter(None)


def _run(
    settings: Settings, engine: Inference, reached: Callable[[str], None], reporter: Reporter
) -> None:
    """Connect to everything, waiting for what is unreachable, and run until a signal."""
    offramp = wait_for(
        f"Redis at {redacted_url(settings.redis.url)}",
        lambda: Offramp(settings, engine=engine),
        give_up_s=settings.worker.give_up_s,
        trying=lambda: reporter.starting("connects to Redis"),
    )
    try:
        _run_with(offramp, settings, reached, reporter)
    finally:
        offramp.disconnect()


def _run_with(
    offramp: Offramp, settings: Settings, reached: Callable[[str], None], reporter: Reporter
) -> None:
    stop, limits = threading.Event(), settings.worker
    wait_for_kafka = partial(
        wait_for,
        f"Kafka at {settings.kafka.bootstrap_servers}",
        give_up_s=limits.give_up_s,
        trying=lambda: reporter.starting("connects to Kafka"),
    )
    keeper = Keeper(
        settings,
        offramp.store,
        policy=offramp.in_force.policy.meta.name,
        leads=lambda: offramp.presence.leads,
    )
    wait_for_kafka(keeper.begin)
    stream = wait_for_kafka(
        lambda: KafkaStream(
            settings.kafka,
            instance=settings.instance,
            topics=subscription(offramp.in_force.routes.routes),
            store=offramp.store,
            reached=reached,
        ),
    )
    log.info("started instance=%s group=%s", settings.instance, settings.kafka.group)
    with Watchdog(stuck_s=limits.stuck_s, drain_s=limits.drain_s) as watchdog:
        try:
            finish_on_signal(stop)
            with loaded_code_spared():
                worker = Worker(
                    stream,
                    offramp,
                    settings,
                    came_round=watchdog.came_round,
                    observer=observer(reporter, stream, offramp, settings),
                )
                keeper.start()
                worker.run(stop)
        finally:
            watchdog.closing(settings.kafka.request_timeout_s + _CLOSING_S)
            keeper.close()
            stream.close()


@contextmanager
def loaded_code_spared() -> Iterator[None]:
    """Exclude everything that is loaded by now from garbage collection.

    A full collection would visit all objects of torch and hold up every batch for a tenth of a
    second.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
