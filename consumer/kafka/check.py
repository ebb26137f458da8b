"""What a worker needs of Kafka, tried without reading, writing or joining anything."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kafka import KafkaAdminClient
from kafka import errors as kafka_errors
from kafka.admin import MemberToRemove

from consumer.errors import ConsumerError, StreamUnavailable
from consumer.kafka.client import connect, translated
from consumer.kafka.group.member import ADVICE, foreign
from consumer.kafka.targets import allow, described_refusal, is_compacted, keyless
from consumer.kafka.topics import ANSWER_S, insisted
from consumer.kafka.writing.transactions import Transactions
from consumer.routes.route import subscription
from policy_state.wording import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from consumer.kafka.client import Client
    from consumer.routes.route import Route
    from consumer.settings.sections import KafkaSettings

_UNREAD = "may not be read, so texts that are not counted yet cannot be counted from it"
_LISTED = 5


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What one look showed."""

    check: str
    ok: bool
    said: str
    advice: str = ""  # what to do, where it is not well


def check_kafka(
    kafka: KafkaSettings,
    instance: str,
    *,
    routes: Sequence[Route],
    former: Collection[str] | None,
    policy_topic: Callable[[], CheckResult],
) -> Iterator[CheckResult]:
    """Yield what is found, in the order in which a worker would need it.

    `former` are outputs of routes that are no more, which a repair reads; None: there is none.
    `policy_topic` is asked for what only the reader of that topic can tell.

    Raises:
        StreamUnavailable: the broker stopped answering.
    """
    answer_s = min(ANSWER_S, kafka.request_timeout_s)
    patience = kafka.model_copy(update={"request_timeout_s": answer_s})
    try:
        client = connect(patience, name=f"offramp-{instance}-check")
    except ConsumerError as error:
        yield CheckResult(
            "kafka", False, str(error), "check kafka.bootstrap_servers and kafka.security"
        )
        return
    way = " ".join(filter(None, (kafka.security.protocol, kafka.security.mechanism)))
    yield CheckResult("kafka", True, f"connected to {kafka.bootstrap_servers}: {way}")
    with translated("connecting"), KafkaAdminClient(**client) as admin:
        if routes:
            yield _inputs(routes, admin)
        outputs = {route.output for route in routes}
        for topic in sorted(outputs):
            yield _target(topic, admin, read=former is not None)
        for topic in sorted(({*(former or ())} - outputs) & {*admin.list_topics()}):
            if not _may_read(admin.describe_topics([topic])[0]):
                said = f"a route wrote to it, {_UNREAD}"
                yield CheckResult(f"topic {topic}", False, said, _read(topic))
        yield _target(kafka.dead_letters, admin)
        yield policy_topic()
        yield group_result(kafka, admin)
    yield _transactions(kafka, instance, client)


def _inputs(routes: Sequence[Route], admin: KafkaAdminClient) -> CheckResult:
    """Say whether there are topics to read, and whether we may."""
    pattern = re.compile(subscription(routes))
    names = sorted(name for name in admin.list_topics() if pattern.match(name))
    if not names:
        advice = "create one with `offramp topics init TOPIC`, allow Describe, or see `route list`"
        return CheckResult("input topics", False, "no topic matches a route", advice)
    described = admin.describe_topics(names)
    if refused := [topic["name"] for topic in described if not _may_read(topic)]:
        said = f"may not read {_some(refused)}"
        return CheckResult("input topics", False, said, "allow Read on it")
    return CheckResult("input topics", True, f"may read {_some(names)}")


def _may_read(described: Mapping[str, Any]) -> bool:
    rights = described["authorized_operations"]
    return rights is None or "READ" in rights  # none: the broker does not tell


def _read(topic: str) -> str:
    return f"{allow(topic, 'Read')}, or store.repair_records = 0"


def _target(topic: str, admin: KafkaAdminClient, *, read: bool = False) -> CheckResult:
    """Say whether a topic is there and may be written to, and read if asked."""
    what = f"topic {topic}"
    found = admin.describe_topics([topic])[0]
    if (refused := described_refusal(found)) is not None:
        return CheckResult(what, False, refused.cause, refused.advice)
    if read and not _may_read(found):
        return CheckResult(what, False, _UNREAD, _read(topic))
    said = f"{counted(len(found['partitions']), 'partition')}, may be written to"
    if is_compacted(admin, topic):
        refused = keyless(topic)
        return CheckResult(what, True, f"{said}, but {refused.cause}", refused.advice)
    return CheckResult(what, True, said)


def group_result(kafka: KafkaSettings, admin: KafkaAdminClient) -> CheckResult:
    """Say whether we may join the group: ask to take out a member that it never had."""
    what = f"group {kafka.group}"
    nobody = MemberToRemove(member_id=f"offramp-check-{uuid.uuid4()}")
    try:
        insisted(
            lambda: admin.remove_group_members(kafka.group, [nobody]),
            timeout_s=kafka.request_timeout_s,
        )
    except kafka_errors.UnknownMemberIdError:
        pass
    except kafka_errors.GroupAuthorizationFailedError:
        return CheckResult(what, False, "may not be joined", "allow Describe and Read on it")
    if (told := foreign(admin, kafka.group)) is not None:
        return CheckResult(what, False, told, ADVICE)
    return CheckResult(what, True, "may be joined")


def _transactions(kafka: KafkaSettings, instance: str, client: Client) -> CheckResult:
    """Say whether we may write transactions, under a name that fences no worker."""
    name = f"{kafka.group}-{instance}-check"
    what = f"transactional id {name}"
    try:
        with translated("opening"):
            Transactions(client, name, timeout_s=kafka.request_timeout_s).close()
    except StreamUnavailable as error:
        advice = f"allow Write and Describe on those that begin with {kafka.group}-"
        return CheckResult(what, False, str(error), advice)
    return CheckResult(what, True, "may be used")


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
