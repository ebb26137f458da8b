"""`offramp worker --check`: tries everything that a worker needs and says what is wrong."""

from __future__ import annotations

import re
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kafka import KafkaAdminClient
from kafka import errors as kafka_errors
from kafka.admin import MemberToRemove

from consumer.errors import (
    ConsumerError,
    InvalidSettings,
    RoutesGone,
    ServiceRefused,
    StreamUnavailable,
    TopicMissing,
    UntrustedService,
)
from consumer.events.formats import FORMS
from consumer.events.registry import Registry
from consumer.kafka.calls import translated
from consumer.kafka.client import connect
from consumer.kafka.codecs import codecs
from consumer.kafka.group.group_kind import ADVICE, foreign
from consumer.kafka.predicted_to import former_routes
from consumer.kafka.targets import allow, described_refusal, is_compacted, keyless
from consumer.kafka.writing.transactions import Transactions
from consumer.keeping.check import check_known
from consumer.keeping.policy_topic import PolicyTopic
from consumer.learning.opening import open_store
from consumer.routes.route import Route, subscription
from consumer.worker.assembly import load_engine, prove_rights
from model.errors import ModelError
from policy_state.errors import FingerprintMismatch, PolicyStateError, StoreRefused
from policy_state.health.findings import Severity
from policy_state.health.missing import eviction_findings
from policy_state.store.port import PolicyMeta, check_same_model
from policy_state.wording import counted

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from consumer.kafka.client import Client
    from consumer.routes.table import RouteTable
    from consumer.settings.load import Settings
    from consumer.settings.sections import KafkaSettings
    from consumer.worker.assembly import Inference
    from model.engine.engine import Engine
    from policy_state.store.redis.store import RedisStore

_TEXT = "This is a text to see whether the model runs."
_UNREAD = "may not be read: no repair can count what is uncounted from it"
_LISTED = 5
_PAUSE_S = 0.2
_LOGIN_REFUSED = {401, 403}  # HTTP


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What one look showed."""

    check: str
    ok: bool
    said: str
    advice: str = ""  # what to do, where it is not well


def check(settings: Settings) -> Iterator[CheckResult]:
    """Yield what is found, in the order in which a worker would need it.

    Nothing is read, written or joined: workers may run meanwhile. What builds on something that
    failed is left out.
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
        yield CheckResult("model", False, str(error), "see model.path, `offramp model check`")
    with open_store(settings) as store:
        yield from _store(settings, store, engine)
        table, finding = _routes(settings, store)
        routes = () if table is None else table.routes
        yield finding
        former = set() if table is None else _former_outputs(settings, store)
    if settings.kafka.format in FORMS:
        yield check_registry(settings.kafka)
    yield _codecs()
    try:
        client = connect(settings.kafka, name=f"offramp-{settings.instance}-check")
    except ConsumerError as error:
        yield CheckResult("kafka", False, str(error), "see kafka.bootstrap_servers, kafka.security")
        return
    security = settings.kafka.security
    way = " ".join(filter(None, (security.protocol, security.mechanism)))
    yield CheckResult("kafka", True, f"connected to {settings.kafka.bootstrap_servers}: {way}")
    with translated("connecting"), KafkaAdminClient(**client) as admin:
        if routes:
            yield _inputs(routes, admin)
        outputs = sorted({route.output for route in routes})
        repairs = settings.store.repair_records > 0
        for topic in outputs:
            yield _target(topic, admin, read=repairs)
        if repairs:
            yield from _formerly(sorted(former - {*outputs}), admin)
        yield _target(settings.kafka.dead_letters, admin)
        yield _policy_topic(settings, table)
        yield _group(settings.kafka, admin)
    yield _transactions(settings, client)


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
        yield CheckResult("redis", False, str(error), "see redis.url and the user's rights")
        return
    yield CheckResult("redis", True, "answers, may be written to")
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
                "policy", False, str(error), "see model.path, store.on_mismatch, policy.name"
            )


def _memory(store: RedisStore) -> CheckResult:
    """Say whether a full Redis deletes what was learnt."""
    try:
        policies = store.evictions()
    except StoreRefused as error:
        said = f"what it does when it is full may not be asked: {error}"
        return CheckResult("redis memory", True, said, "allow INFO")
    wrong = [f for f in eviction_findings(policies) if f.severity is Severity.PROBLEM]
    if wrong:
        return CheckResult("redis memory", False, wrong[0].text, wrong[0].mend)
    return CheckResult("redis memory", True, f"maxmemory-policy is {', '.join(sorted(policies))}")


def _routes(settings: Settings, store: RedisStore) -> tuple[RouteTable | None, CheckResult]:
    """Return the routes in force, and say whether there are any."""
    try:
        table = settings.group_routes.in_force(store)
    except (PolicyStateError, ConsumerError) as error:
        return None, CheckResult("routes", False, str(error), "see `offramp route list`")
    if not table.routes:
        return table, CheckResult("routes", False, "there are none", "see `offramp route add`")
    said = ", ".join(route.topics for route in table.routes[:_LISTED])
    return table, CheckResult("routes", True, said)


def _policy_topic(settings: Settings, table: RouteTable | None) -> CheckResult:
    """Say whether the policy topic can be read, and has no routes that Redis has lost."""
    name = f"policy topic {settings.kafka.policy_topic}"
    try:
        kept = PolicyTopic(settings.kafka).read()
        if table is not None:
            check_known(settings, table, kept)
    except TopicMissing as error:
        said = f"{error}: what people set is in Redis alone"
        return CheckResult(name, True, said, "`offramp topics init` creates it")
    except RoutesGone as error:
        return CheckResult(name, False, str(error), "`offramp policy rebuild`")
    except ConsumerError as error:
        return CheckResult(name, False, str(error), "allow Read, Write and Describe on it")
    return CheckResult(name, True, f"has {len(kept)} records of the group")


def check_registry(settings: KafkaSettings) -> CheckResult:
    """Say whether the schema registry answers, and has schemas of the format."""
    advice = "see kafka.registry.url"
    try:
        Registry(settings.registry, form=settings.format).try_out()
    except ConsumerError as error:
        if isinstance(error, UntrustedService):
            advice = "see kafka.registry.ca_file"
        elif isinstance(error, ServiceRefused) and error.code in _LOGIN_REFUSED:
            advice = "see kafka.registry.username, kafka.registry.password_file"
        elif isinstance(error, InvalidSettings):
            advice = "see kafka.format, kafka.registry"
        return CheckResult("registry", False, str(error), advice)
    return CheckResult("registry", True, f"{settings.registry.url} answers, has {settings.format}")


def _codecs() -> CheckResult:
    """Say whether topics can be read however they are compressed: nobody asks their readers."""
    found = codecs()
    if faults := list(filter(None, found.values())):
        return CheckResult("codecs", False, "; ".join(faults), "install these packages")
    return CheckResult("codecs", True, f"reads {', '.join(found)}")


def _inputs(routes: Sequence[Route], admin: KafkaAdminClient) -> CheckResult:
    """Say whether there are topics to read, and whether we may."""
    pattern = re.compile(subscription(routes))
    names = sorted(name for name in admin.list_topics() if pattern.match(name))
    if not names:
        advice = "`offramp topics init TOPIC`, allow Describe, or see `offramp route list`"
        return CheckResult("input topics", False, "no topic matches a route", advice)
    refused = [
        topic["name"]
        for topic in admin.describe_topics(names)
        if "READ" not in topic["authorized_operations"]
    ]
    if refused:
        return CheckResult(
            "input topics", False, f"may not read {_some(refused)}", "allow Read on it"
        )
    return CheckResult("input topics", True, f"may read {_some(names)}")


def _former_outputs(settings: Settings, store: RedisStore) -> set[str]:
    """Return what routes wrote to that are no more, as far as the store tells."""
    with suppress(PolicyStateError):  # which is told by then
        return {route.output for route in former_routes(store, settings.kafka.group)}
    return set()


def _formerly(topics: Sequence[str], admin: KafkaAdminClient) -> Iterator[CheckResult]:
    """Yield the former outputs that are there and may not be read, for a repair reads them too."""
    there = set(admin.list_topics())
    for topic in topics:
        if topic in there and "READ" not in _rights(admin.describe_topics([topic])[0]):
            yield CheckResult(
                f"topic {topic}", False, f"a route wrote to it, {_UNREAD}", _read(topic)
            )


def _rights(described: Mapping[str, Any]) -> Collection[str]:
    return described["authorized_operations"] or ("READ",)  # none: the broker does not tell


def _read(topic: str) -> str:
    return f"{allow(topic, 'Read')}, or store.repair_records = 0"


def _target(topic: str, admin: KafkaAdminClient, *, read: bool = False) -> CheckResult:
    """Say whether a topic is there and may be written to, and read if asked."""
    what = f"topic {topic}"
    found = admin.describe_topics([topic])[0]
    if (refused := described_refusal(found)) is not None:
        return CheckResult(what, False, refused.cause, refused.advice)
    if read and "READ" not in _rights(found):
        return CheckResult(what, False, _UNREAD, _read(topic))
    said = f"{counted(len(found['partitions']), 'partition')}, may be written to"
    if is_compacted(admin, topic):
        refused = keyless(topic)
        return CheckResult(what, True, f"{said}, but {refused.cause}", refused.advice)
    return CheckResult(what, True, said)


def _group(settings: KafkaSettings, admin: KafkaAdminClient) -> CheckResult:
    """Say whether we may join the group: ask to take out a member that it never had."""
    what = f"group {settings.group}"
    nobody = MemberToRemove(member_id=f"offramp-check-{uuid.uuid4()}")
    deadline = time.monotonic() + settings.request_timeout_s
    while True:
        try:
            admin.remove_group_members(settings.group, [nobody])
        except kafka_errors.UnknownMemberIdError:
            pass
        except kafka_errors.GroupAuthorizationFailedError:
            return CheckResult(what, False, "may not be joined", "allow Describe and Read on it")
        except kafka_errors.RetriableError:  # a cluster's first group: its coordinator starts
            if time.monotonic() > deadline:
                raise
            time.sleep(_PAUSE_S)
            continue
        if (told := foreign(admin, settings.group)) is not None:
            return CheckResult(what, False, told, ADVICE)
        return CheckResult(what, True, "may be joined")


def _transactions(settings: Settings, client: Client) -> CheckResult:
    """Say whether we may write transactions, under a name that fences no worker."""
    name = f"{settings.kafka.group}-{settings.instance}-check"
    what = f"transactional id {name}"
    try:
        with translated("opening"):
            Transactions(
                client, name, timeout_s=settings.kafka.request_timeout_s, reached=lambda _: None
            ).close()
    except StreamUnavailable as error:
        advice = f"allow Write and Describe on those that begin with {settings.kafka.group}-"
        return CheckResult(what, False, str(error), advice)
    return CheckResult(what, True, "may be used")


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
