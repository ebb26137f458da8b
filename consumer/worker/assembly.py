"""Builds a worker from settings, by hand, and runs it until a signal."""

from __future__ import annotations

import gc
import logging
import threading
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

from consumer.errors import InvalidSettings
from consumer.events.codec import parse
from consumer.events.formats import FORMS
from consumer.events.registry import Registry
from consumer.kafka.reading.raw_records import codecs
from consumer.kafka.stream import KafkaStream
from consumer.keeping.keeper import Keeper
from consumer.learning.opening import open_store
from consumer.process.log_lines import log_to_stderr
from consumer.process.signals import START_S, Heed, Stopped, finish_on_signal
from consumer.processor import ModelFacts, Processor, TextResult, Tokens
from consumer.routes.route import subscription
from consumer.routes.watch import RouteWatch
from consumer.worker.starting import wait_for
from consumer.worker.watchdog import Watchdog
from consumer.worker.worker import Worker
from policy_state.algorithms.base import build
from policy_state.algorithms.settings import PolicySettings
from policy_state.store.port import Limits, PolicyMeta
from policy_state.store.redis.address import shown_address
from policy_state.store.redis.store import RedisStore
from policy_state.transfer.transfer import open_or_start_new

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from consumer.events.codec import EventBody
    from consumer.events.record import Record
    from consumer.settings.load import Settings
    from consumer.settings.sections import KafkaSettings
    from model.engine.engine import Engine
    from policy_state.store.admin import PolicyAdmin
    from policy_state.store.port import OpenedPolicy

log = logging.getLogger("offramp")

_TTL_S: Final = 0.001  # nobody is to see it
_CLOSING_S: Final = 5.0  # for all but Kafka's connections


class Inference(Protocol):
    """What the worker needs of a model; `model.engine.engine.Engine` is one."""

    fingerprint: str

    @property
    def config(self) -> ModelShape:
        """Exit layers and labels."""

    def tokenise(self, texts: Sequence[str]) -> Tokens:
        """Return what `run_tokens` takes; called in another thread, beside it."""

    def run_tokens(self, tokens: Tokens, exits: Sequence[int]) -> Sequence[TextResult]:
        """Classify each text up to its exit."""


class ModelShape(Protocol):
    """What the worker needs to know of a model."""

    @property
    def exit_layers(self) -> tuple[int, ...]:
        """The layer of every exit, counted from 1."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The name of every class."""


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
    stop, limits = threading.Event(), settings.worker
    for fault in filter(None, codecs().values()):
        log.warning("%s: batches that need it are refused (errors.read)", fault)
    with open_store(settings) as store:
        routes, step, opened = wait_for(
            f"Redis at {shown_address(settings.redis.url)}",
            lambda: _of_the_store(settings, engine, store),
            give_up_s=limits.give_up_s,
        )
        keeper = Keeper(settings, store, policy=opened.meta.name)
        wait_for(
            f"Kafka at {settings.kafka.bootstrap_servers}",
            keeper.begin,
            give_up_s=limits.give_up_s,
        )
        stream = wait_for(
            f"Kafka at {settings.kafka.bootstrap_servers}",
            lambda: KafkaStream(
                settings.kafka,
                instance=settings.instance,
                topics=subscription(routes.latest.routes),
                store=store,
                reached=reached,
            ),
            give_up_s=limits.give_up_s,
        )
        log.info("started instance=%s group=%s", settings.instance, settings.kafka.group)
        with Watchdog(stuck_s=limits.stuck_s, drain_s=limits.drain_s) as watchdog:
            try:
                finish_on_signal(stop)
                routes.start()
                with loaded_code_spared():
                    worker = Worker(
                        stream,
                        step,
                        store,
                        opened,
                        settings,
                        routes,
                        came_round=watchdog.came_round,
                    )
                    keeper.start(lambda: worker.leads)
                    worker.run(stop)
            finally:
                watchdog.closing(settings.kafka.request_timeout_s + _CLOSING_S)
                keeper.close()
                routes.close()
                stream.close()


def _of_the_store(
    settings: Settings, engine: Inference, store: RedisStore
) -> tuple[RouteWatch, Processor, OpenedPolicy]:
    prove_rights(settings, store)
    watch = RouteWatch(settings.group_routes, store, instance=settings.instance)
    return watch, *open_policy(settings, engine, store)


def prove_rights(settings: Settings, store: RedisStore) -> None:
    """Return if the store answers and this user may write: what a worker does all the time.

    Raises:
        StoreUnavailable: it does not answer.
        StoreRefused: it does not let this user in, or not write.
    """
    store.heartbeat(f"{settings.instance}-check", {"group": "check"}, ttl_s=_TTL_S)


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


def open_policy(
    settings: Settings, engine: Inference, store: PolicyAdmin
) -> tuple[Processor, OpenedPolicy]:
    """Open the policy, creating it on first use, and return a step that plays it, without routes.

    Raises:
        PolicyStateError: the store does not answer, or holds the policy for another model.
    """
    facts = ModelFacts(engine.fingerprint, engine.config.exit_layers, engine.config.labels)
    opened = open_or_start_new(
        store,
        new_policy(settings, engine),
        on_mismatch=settings.store.on_mismatch,
        weight=settings.store.warm_start_weight,
        by=settings.instance,
    )
    log.info(
        "policy name=%s created=%s model=%s layers=%s",
        opened.meta.name,
        opened.created,
        facts.fingerprint,
        ",".join(map(str, facts.layers)),
    )
    step = Processor(
        infer=engine.run_tokens,
        tokenise=engine.tokenise,
        model=facts,
        algorithm=build(opened.meta.settings, facts.layers),
        parse=_parser(settings.kafka),
    )
    return step, opened


def new_policy(settings: Settings, engine: Inference) -> PolicyMeta:
    """Return the policy that the settings describe for a model, as it is where nothing was set."""
    options, kept = settings.policy, settings.store
    return PolicyMeta(
        name=options.name,
        fingerprint=engine.fingerprint,
        layers=engine.config.exit_layers,
        settings=PolicySettings(
            cost=_cost(settings, engine), **options.model_dump(exclude={"name", "cost"})
        ),
        limits=Limits(
            domains=kept.domains,
            idle_ms=int(kept.idle_s * 1000),
            rare_idle_ms=int(kept.rare_idle_s * 1000),
            rare_texts=kept.rare_texts,
        ),
    )


def _parser(settings: KafkaSettings) -> Callable[[Record], EventBody]:
    """Return what reads values of the format that the settings name."""
    decode = None
    if settings.format in FORMS:
        decode = Registry(settings.registry, form=settings.format)
    return partial(parse, form=settings.format, fields=settings.fields, decode=decode)


def _cost(settings: Settings, engine: Inference) -> str | tuple[float, ...]:
    """Return the cost vector, or the name of one; `measured` is read from beside the model."""
    if settings.policy.cost != "measured":
        return settings.policy.cost
    from model.engine.costs import read_costs
    from model.engine.engine import Engine

    if not isinstance(engine, Engine):
        raise InvalidSettings(
            "policy.cost is 'measured', which needs an engine of model.engine.engine"
        )
    return read_costs(settings.model.path, engine)


def load_engine(settings: Settings) -> Engine:
    """Load the model that the settings name.

    Raises:
        ModelError: it cannot be loaded.
    """
    from model.engine.engine import Engine

    options = settings.model
    return Engine(
        options.path,
        device=options.device,
        precision=options.precision,
        max_tokens=options.max_tokens,
        max_batch_tokens=options.max_batch_tokens,
        least_int8_agreement=options.least_int8_agreement,
    )
