"""Builds a worker from settings, by hand, and runs it until a signal."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from typing import TYPE_CHECKING

from consumer.errors import InvalidSettings
from consumer.kafka_stream import KafkaStream
from consumer.routes import subscription
from consumer.step import ModelFacts, Step
from consumer.worker import Worker
from model.engine import Engine
from policy_state.backends.redis import RedisStore
from policy_state.policy import PolicySettings, build
from policy_state.store import PolicyMeta

if TYPE_CHECKING:
    from consumer.settings import Settings

log = logging.getLogger("offramp")


def run_worker(settings: Settings, *, log_level: str) -> None:
    """Run a worker until SIGTERM or SIGINT; the batch at hand is finished first.

    Raises:
        ConsumerError, PolicyStateError, ModelError: it cannot start, or cannot go on.
    """
    _log_to_stderr(log_level)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    engine = Engine(
        settings.model.path, device=settings.model.device, max_tokens=settings.model.max_tokens
    )
    facts = ModelFacts(engine.fingerprint, engine.config.exit_layers, engine.config.labels)
    with RedisStore(settings.redis.url, timeout_s=settings.redis.timeout_s) as store:
        options = settings.policy
        opened = store.open(
            PolicyMeta(
                name=options.name,
                fingerprint=facts.fingerprint,
                layers=facts.layers,
                settings=PolicySettings(
                    policy=options.policy,
                    cost=options.cost,
                    cost_weight=options.cost_weight,
                    alpha=options.alpha,
                ),
            )
        )
        step = Step(
            infer=engine.run,
            model=facts,
            policy=build(opened.meta.settings, facts.layers),
            routes=settings.routes,
            form=settings.kafka.format,
        )
        stream = KafkaStream(
            settings.kafka, instance=settings.instance, topics=subscription(settings.routes)
        )
        log.info(
            "started instance=%s group=%s model=%s layers=%s policy=%s created=%s",
            settings.instance,
            settings.kafka.group,
            facts.fingerprint,
            ",".join(map(str, facts.layers)),
            opened.meta.name,
            opened.created,
        )
        try:
            Worker(stream, step, store, settings).run(stop)
        finally:
            stream.close()
    log.info("stopped instance=%s", settings.instance)


def _log_to_stderr(level: str) -> None:
    numbers = logging.getLevelNamesMapping()
    if level.upper() not in numbers:
        raise InvalidSettings(f"log level is {level!r}, expected debug, info, warning or error")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("offramp").setLevel(numbers[level.upper()])
