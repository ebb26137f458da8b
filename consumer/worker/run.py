"""Starts a worker, and runs it until a signal."""

from __future__ import annotations

import gc
import logging
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from consumer.kafka.stream import KafkaStream
from consumer.keeping.keeper import Keeper
from consumer.offramp import Offramp
from consumer.opening import load_engine
from consumer.process.log_lines import log_to_stderr
from consumer.process.signals import START_S, Heed, Stopped, finish_on_signal
from consumer.routes.route import subscription
from consumer.settings.problems import redacted_url
from consumer.worker.waiting import wait_for
from consumer.worker.watchdog import Watchdog
from consumer.worker.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from consumer.opening import Inference
    from consumer.settings.load import Settings

log = logging.getLogger("offramp")

_CLOSING_S: Final = 5.0  # for all but Kafka's connections


def run_worker(
    settings: Settings,
    *,
    log_level: str,
    engine: Inference | None = None,
    reached: Callable[[str], None] = lambda _: None,
) -> None:
    """Run a worker until SIGTERM or SIGINT, then finish what is under way; a second one ends it.

    While it starts nothing is under way: a signal ends it within a second.

    Args:
        settings: all of them.
        log_level: debug, info, warning or error.
        engine: the model to run; by default the one that the settings name.
        reached: see `KafkaStream`.

    Raises:
        ConsumerError, PolicyStateError, ModelError: it cannot start, or cannot go on.
    """
    log_to_stderr(log_level)
    try:
        Heed(code=0, within_s=START_S).begin()
        if settings.worker.liveness_file is not None:  # a predecessor's says nothing of this worker
            settings.worker.liveness_file.unlink(missing_ok=True)
        _run(settings, engine or load_engine(settings), reached)
    except Stopped as stopped:
        log.info("stopped before it had started instance=%s by=%s", settings.instance, stopped)
        return
    log.info("stopped instance=%s", settings.instance)


def _run(settings: Settings, engine: Inference, reached: Callable[[str], None]) -> None:
    """Connect to everything, waiting where it is away, and run until a signal."""
    limits = settings.worker
    offramp = wait_for(
        f"Redis at {redacted_url(settings.redis.url)}",
        lambda: Offramp(settings, engine=engine),
        give_up_s=limits.give_up_s,
    )
    try:
        _run_with(offramp, settings, reached)
    finally:
        offramp.disconnect()


def _run_with(offramp: Offramp, settings: Settings, reached: Callable[[str], None]) -> None:
    stop, limits = threading.Event(), settings.worker
    kafka = f"Kafka at {settings.kafka.bootstrap_servers}"
    keeper = Keeper(
        settings,
        offramp.store,
        policy=offramp.in_force.policy.meta.name,
        leads=lambda: offramp.presence.leads,
    )
    wait_for(kafka, keeper.begin, give_up_s=limits.give_up_s)
    stream = wait_for(
        kafka,
        lambda: KafkaStream(
            settings.kafka,
            instance=settings.instance,
            topics=subscription(offramp.in_force.routes.routes),
            store=offramp.store,
            reached=reached,
        ),
        give_up_s=limits.give_up_s,
    )
    log.info("started instance=%s group=%s", settings.instance, settings.kafka.group)
    with Watchdog(stuck_s=limits.stuck_s, drain_s=limits.drain_s) as watchdog:
        try:
            finish_on_signal(stop)
            with loaded_code_spared():
                worker = Worker(stream, offramp, settings, came_round=watchdog.came_round)
                keeper.start()
                worker.run(stop)
        finally:
            watchdog.closing(settings.kafka.request_timeout_s + _CLOSING_S)
            keeper.close()
            stream.close()


@contextmanager
def loaded_code_spared() -> Iterator[None]:
    """Keep garbage collection away from what is loaded by now.

    A full collection would look at all of torch's objects, a tenth of a second in which no batch
    goes on.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
