"""`offramp worker --check`: tries everything that a worker needs, and reports what is wrong."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from consumer.errors import (
    ConsumerError,
    InvalidSettings,
    RoutesGone,
    ServiceRefused,
    TopicMissing,
    UntrustedService,
)
from consumer.events.formats import FORMS
from consumer.events.registry import Registry
from consumer.kafka.check import CheckResult, check_kafka
from consumer.kafka.predicted_to import former_routes
from consumer.kafka.topics import connected
from consumer.keeping.check import check_known
from consumer.keeping.policy_topic import PolicyTopic
from consumer.opening import load_engine, open_store, prove_rights
from consumer.settings.problems import redacted_url
from consumer.worker.waiting import wait_for
from model.errors import ModelError
from policy_state.errors import FingerprintMismatch, PolicyStateError, StoreRefused
from policy_state.health.findings import Severity
from policy_state.health.missing import eviction_findings
from policy_state.store.values import PolicyMeta, check_same_model
from policy_state.wording import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from consumer.opening import Inference
    from consumer.routes.table import RouteTable
    from consumer.settings.load import Settings
    from consumer.settings.sections import KafkaSettings
    from model.engine.engine import Engine
    from policy_state.store.redis.store import RedisStore

_TEXT = "This is a text to see whether the model runs."
_LISTED = 5
_LOGIN_REFUSED = {401, 403}  # HTTP


def wait_for_services(settings: Settings) -> None:
    """Wait for Redis, Kafka and the registry, for each as long as a worker that starts.

    What still does not answer then, or is wrong, is what `check` reports.
    """

    def redis() -> None:
        with open_store(settings) as store:
            prove_rights(settings, store)

    def kafka() -> None:
        with connected(settings.kafka):
            pass

    registry = settings.kafka.registry
    wanted: dict[str, Callable[[], None]] = {
        f"Redis at {redacted_url(settings.redis.url)}": redis,
        f"Kafka at {settings.kafka.bootstrap_servers}": kafka,
    }
    if settings.kafka.format in FORMS:
        wanted[f"the registry at {registry.url}"] = lambda: Registry(
            registry, form=settings.kafka.format
        ).try_out()
    for what, attempt in wanted.items():
        with suppress(ConsumerError, PolicyStateError):
            wait_for(what, attempt, give_up_s=settings.worker.give_up_s)


def check(settings: Settings) -> Iterator[CheckResult]:
    """Yield the results in the order in which a worker needs things.

    Workers may run meanwhile: the check reads no texts, joins no group and changes nothing that
    lasts. Checks that build on one that failed are left out.
    """
    engine: Engine | None = None
    try:
        engine = load_engine(settings)
        layers = engine.config.exit_layers
        engine.run_tokens(engine.tokenise([_TEXT]), [len(layers) - 1])
        runs = f"predicts in {engine.precision} on {engine.device.type}"
        said = f"{engine.fingerprint}, {counted(len(layers), 'exit')}, {runs}"
        yield CheckResult("model", True, said)
    except ModelError as error:
        yield CheckResult(
            "model", False, str(error), "check model.path, and run `offramp model check`"
        )
    with open_store(settings) as store:
        yield from _store(settings, store, engine)
        table, finding = _routes(settings, store)
        routes = () if table is None else table.routes
        yield finding
        former: set[str] = set()
        if table is not None:
            with suppress(PolicyStateError):  # which is reported by then
                former = {r.output for r in former_routes(store, settings.kafka.group)}
    if settings.kafka.format in FORMS:
        yield check_registry(settings.kafka)
    repairs = settings.store.repair_records > 0
    yield from check_kafka(
        settings.kafka,
        settings.instance,
        routes=routes,
        former=former if repairs else None,
        policy_topic=lambda: _policy_topic(settings, table),
    )


def _store(
    settings: Settings, store: RedisStore, engine: Inference | None
) -> Iterator[CheckResult]:
    try:
        prove_rights(settings, store)
        stored = store.find(settings.policy.name)
        if stored is not None:
            store.open(stored)
            store.apply((), also_read=("default",))
    except PolicyStateError as error:
        yield CheckResult("redis", False, str(error), "check redis.url and the user's rights")
        return
    yield CheckResult("redis", True, "answers and can be written to")
    yield _memory(store)
    name = settings.policy.name
    if stored is None:
        yield CheckResult("policy", True, f"{name} does not exist yet: the first worker creates it")
    elif engine is not None:
        try:
            check_same_model(
                PolicyMeta(name, engine.fingerprint, engine.config.exit_layers), stored
            )
            yield CheckResult("policy", True, f"{name} belongs to this model")
        except FingerprintMismatch as error:
            yield CheckResult(
                "policy", False, str(error), "check model.path, store.on_mismatch and policy.name"
            )


def _memory(store: RedisStore) -> CheckResult:
    """Return whether a full Redis would delete what was learnt."""
    try:
        policies = store.evictions()
    except StoreRefused as error:
        said = f"the maxmemory-policy cannot be read: {error}"
        return CheckResult("redis memory", True, said, "allow the user INFO")
    wrong = [f for f in eviction_findings(policies) if f.severity is Severity.PROBLEM]
    if wrong:
        return CheckResult("redis memory", False, wrong[0].text, wrong[0].fix)
    return CheckResult("redis memory", True, f"maxmemory-policy is {', '.join(sorted(policies))}")


def _routes(settings: Settings, store: RedisStore) -> tuple[RouteTable | None, CheckResult]:
    """Return the routes in force, and whether there are any."""
    try:
        table = settings.group_routes.in_force(store)
    except (PolicyStateError, ConsumerError) as error:
        return None, CheckResult("routes", False, str(error), "see `offramp route list`")
    if not table.routes:
        return table, CheckResult(
            "routes", False, "there are no routes", "add one with `offramp route add`"
        )
    said = ", ".join(route.topics for route in table.routes[:_LISTED])
    return table, CheckResult("routes", True, said)


def _policy_topic(settings: Settings, table: RouteTable | None) -> CheckResult:
    """Return whether the policy topic can be read, and whether Redis has all routes in it."""
    name = f"policy topic {settings.kafka.policy_topic}"
    try:
        kept = PolicyTopic(settings.kafka).read()
        if table is not None:
            check_known(settings, table, kept)
    except TopicMissing as error:
        said = f"{error}: pins, settings and routes are in Redis only"
        return CheckResult(name, True, said, "create it with `offramp topics init`")
    except RoutesGone as error:
        return CheckResult(name, False, str(error), "run `offramp policy rebuild`")
    except ConsumerError as error:
        return CheckResult(name, False, str(error), "allow the user Read, Write and Describe on it")
    return CheckResult(name, True, f"has {len(kept)} records of the group")


def check_registry(settings: KafkaSettings) -> CheckResult:
    """Return whether the schema registry answers, and has schemas of the format."""
    advice = "check kafka.registry.url"
    try:
        Registry(settings.registry, form=settings.format).try_out()
    except ConsumerError as error:
        if isinstance(error, UntrustedService):
            advice = "check kafka.registry.ca_file"
        elif isinstance(error, ServiceRefused) and error.code in _LOGIN_REFUSED:
            advice = "check kafka.registry.username and kafka.registry.password_file"
        elif isinstance(error, InvalidSettings):
            advice = "check kafka.format and kafka.registry"
        return CheckResult("registry", False, str(error), advice)
    return CheckResult(
        "registry", True, f"{settings.registry.url} answers and has {settings.format}"
    )
