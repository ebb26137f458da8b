"""Opens what the settings name: the model, the store, and the policy in it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, Protocol

from consumer.errors import InvalidSettings
from policy_state.algorithms.settings import PolicySettings
from policy_state.store.redis.store import RedisStore
from policy_state.store.values import Limits, PolicyMeta
from policy_state.transfer.transfer import open_or_start_new

if TYPE_CHECKING:
    from collections.abc import Sequence

    from consumer.predictor import TextResult, Tokens
    from consumer.settings.load import Settings
    from model.engine.engine import Engine
    from policy_state.store.admin import PolicyAdmin
    from policy_state.store.values import OpenedPolicy

log = logging.getLogger("offramp")

_TTL_S: Final = 0.001  # gone before anybody sees it


class Inference(Protocol):
    """What Offramp needs of a model; `model.engine.engine.Engine` provides it."""

    fingerprint: str

    @property
    def calibrated(self) -> bool:
        """Whether results have credits, and scores are calibrated."""

    @property
    def config(self) -> ModelShape:
        """Exit layers and labels."""

    def tokenise(self, texts: Sequence[str]) -> Tokens:
        """Return what `run_tokens` takes; called in another thread while that runs."""

    def run_tokens(self, tokens: Tokens, exits: Sequence[int]) -> Sequence[TextResult]:
        """Classify each text up to its exit.

        If it is calibrated it also takes gates, one for each text: the score, in thousandths, at
        which the text stops sooner; 0: at none.
        """


class ModelShape(Protocol):
    """What Offramp needs to know of a model."""

    @property
    def exit_layers(self) -> tuple[int, ...]:
        """The layer of every exit, counted from 1."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The name of every class."""


def open_store(settings: Settings) -> RedisStore:
    """Return the store that the settings name; nothing is sent to it yet.

    Raises:
        InvalidInput: the address is not one of a Redis.
    """
    redis = settings.redis
    return RedisStore(
        redis.url,
        timeout_s=redis.timeout_s,
        password_file=redis.password_file,
        ca_file=redis.ca_file,
    )


def prove_rights(settings: Settings, store: RedisStore) -> None:
    """Return if the store answers and this user may write to it.

    Raises:
        StoreUnavailable: the store does not answer.
        StoreRefused: this user may not log in, or not write.
    """
    store.heartbeat(f"{settings.instance}-check", {"group": "check"}, ttl_s=_TTL_S)


def open_policy(settings: Settings, engine: Inference, store: PolicyAdmin) -> OpenedPolicy:
    """Open the policy that the settings name, creating it on first use.

    Raises:
        PolicyStateError: the store does not answer, or holds the policy for another model.
    """
    opened = open_or_start_new(
        store,
        new_policy(settings, engine),
        on_mismatch=settings.store.on_mismatch,
        weight=settings.store.warm_start_weight,
        by=settings.instance,
    )
    meta = opened.meta
    log.info(
        "policy name=%s created=%s model=%s layers=%s",
        meta.name,
        opened.created,
        meta.fingerprint,
        ",".join(map(str, meta.layers)),
    )
    return opened


def new_policy(settings: Settings, engine: Inference) -> PolicyMeta:
    """Return the policy that the settings describe for a model, without later changes by people."""
    options, kept = settings.policy, settings.store
    if options.gate and not engine.calibrated:
        raise InvalidSettings(
            f"policy.gate is {options.gate:g}, which needs a calibrated model, and this one is "
            "not; calibrate it with `offramp model calibrate`, or set policy.gate to 0"
        )
    return PolicyMeta(
        name=options.name,
        fingerprint=engine.fingerprint,
        layers=engine.config.exit_layers,
        classes=len(engine.config.labels),
        calibrated=engine.calibrated,
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


def load_engine(settings: Settings) -> Engine:
    """Load the model that the settings name.

    Raises:
        ModelError: the model cannot be loaded.
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


def _cost(settings: Settings, engine: Inference) -> str | tuple[float, ...]:
    """Return the cost vector or its name; `measured` costs are read from the model folder."""
    if settings.policy.cost != "measured":
        return settings.policy.cost
    from model.engine.calibrate import read_costs
    from model.engine.engine import Engine

    if not isinstance(engine, Engine):
        raise InvalidSettings(
            "policy.cost is 'measured', which needs an engine of model.engine.engine"
        )
    return read_costs(settings.model.path, engine)
