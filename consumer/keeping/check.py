"""Compares the pins, freezes, settings and routes in the policy topic with those in Redis."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Final

from consumer.errors import TopicMissing
from consumer.kafka.group.positions import topics_of_unknown
from consumer.keeping.policy_topic import PolicyTopic
from consumer.routes.table import BUILT_IN
from policy_state.health.findings import Finding, note, problem
from policy_state.store.kept import entry_time_ms
from policy_state.store.redis.keeping import Keeping
from policy_state.wording import counted

if TYPE_CHECKING:
    from consumer.routes.table import RouteTable
    from consumer.settings.load import Settings
    from policy_state.store.kept import Records
    from policy_state.store.redis.store import RedisStore

_LAG_S: Final = 30.0
_BY_PEOPLE: Final = frozenset({"routes", "domain"})


def check_known(settings: Settings, table: RouteTable, kept: Records | None = None) -> None:
    """Return unless the built-in route is only what is left of a group's routes.

    The policy topic is read where that matters, unless `kept` is what it has.

    Raises:
        RoutesGone: the policy topic has others, which Redis has lost.
        StreamUnavailable: the broker does not answer.
    """
    if table.source != "built-in":
        return
    try:
        kept = PolicyTopic(settings.kafka).read() if kept is None else kept
    except TopicMissing:
        return
    if ("routes",) in kept:
        raise settings.group_routes.gone(
            f"the policy topic has revision {kept['routes',]['revision']}"
        )


def check_in_force(settings: Settings, store: RedisStore, table: RouteTable) -> None:
    """Return where a group's routes are known: the policy topic and its offsets tell of no others.

    Raises:
        RoutesGone: there were others, which Redis has lost.
        StreamUnavailable: the broker does not answer.
    """
    check_known(settings, table)
    if table.source == "built-in":
        check_committed(settings, store)


def check_committed(settings: Settings, store: RedisStore) -> None:
    """Return unless Redis knows nothing of a group that has read other topics than `texts.*`.

    Raises:
        RoutesGone: then it had other routes than the built-in one.
        StreamUnavailable: the broker does not tell.
    """
    if store.routes(settings.kafka.group).revision:
        return
    topics = topics_of_unknown(settings.kafka, store)
    others = sorted(name for name in topics if re.fullmatch(BUILT_IN.topics, name) is None)
    if others:
        raise settings.group_routes.gone(f"the group has read topic {others[0]}")


def kept_findings(settings: Settings, store: RedisStore, *, policy: str) -> list[Finding]:
    """Return what Redis has lost, what it alone has, and that there is no topic for it.

    Raises:
        StreamUnavailable: the broker does not answer.
    """
    kafka = settings.kafka
    keeping = Keeping(store, group=kafka.group, policy=policy)
    topic = kafka.policy_topic
    try:
        kept = PolicyTopic(kafka).read()
    except TopicMissing as error:
        if not _BY_PEOPLE & {key[0] for key in keeping.news({})}:
            return []
        text = f"{error}: routes, pins and freezes exist only in Redis"
        return [note("kept", topic, text, "offramp topics init")]
    found = [
        problem(
            "kept",
            topic,
            f"Redis has lost {kind} and {counted(changes, 'change')} that this topic has",
            "offramp policy rebuild",
        )
        for kind, changes in keeping.lost(kept).items()
        if kind == "policy" or settings.routes is None
    ]
    times = [entry_time_ms(key) for key, value in keeping.news(kept).items() if value is not None]
    late = [ms for ms in times if ms is not None and time.time() - ms / 1000 > _LAG_S]
    if late:
        text = (
            f"{counted(len(late), 'change is', 'changes are')} only in Redis, the oldest for "
            f"{time.time() - min(late) / 1000:.0f} s: a worker of group {kafka.group} copies them"
        )
        found.append(problem("kept", topic, text))
    return found
