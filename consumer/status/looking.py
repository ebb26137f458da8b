"""Looks at a group of workers: what Redis knows of it, and what Kafka does.

Whoever asks may be looking for what is down, so nothing that is down ends this: it is in the
answer.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from consumer.errors import ConsumerError, TopicMissing
from consumer.kafka.dead_letters import Recent, recent_letters
from consumer.kafka.group.overview import GroupOverview, group_overview
from consumer.keeping.check import check_in_force
from consumer.routes.route import promise_for, route_for
from policy_state.errors import PolicyNotFound, PolicyStateError
from policy_state.reports.states import DomainStates, count_states
from policy_state.store.groups import ConsumerGroup, StoredPositions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from consumer.routes.route import Route
    from consumer.routes.table import RouteTable
    from consumer.settings.load import Settings
    from consumer.settings.sections import KafkaSettings
    from policy_state.store.redis.store import RedisStore

Answer = TypeVar("Answer")

_ANSWER_S: Final = 5.0  # for a first answer of Kafka
_LETTERS_MOST: Final = 1000  # dead letters that are read
_HOUR_MS: Final = 3_600_000
_COUNT_SHARE: Final = 0.1  # of the time that goes by is spent on counting domains


@dataclass(frozen=True, slots=True)
class Looked:
    """What there is to see of a group. What is None could not be seen; `errors` says why."""

    group: str
    workers: Mapping[str, Mapping[str, str]] | None  # heartbeats of the group, hosts among them
    routes: RouteTable | None
    policies: Mapping[str, DomainStates]
    kafka: GroupOverview | None
    letters: Recent | None
    errors: Mapping[str, Exception] = field(default_factory=dict)
    """By what was asked: redis, routes, kafka, letters, or `policy NAME`."""


class Looker:
    """Looks once, or again and again. Counts the domains of large policies less often."""

    def __init__(self, settings: Settings, store: RedisStore) -> None:
        """Ask nothing yet."""
        self._settings = settings
        self._store = store
        self._states: dict[str, DomainStates] = {}
        self._count_again = 0.0

    def look(self) -> Looked:
        """Return what there is to see now."""
        errors: dict[str, Exception] = {}
        settings, store = self._settings, self._store
        workers = _asked("redis", errors, self._workers)
        table = None
        if workers is not None:
            table = _asked("routes", errors, lambda: settings.group_routes.in_force(store))
        elif settings.routes is not None:
            table = settings.group_routes.in_force(store)  # which asks nothing
        kafka = _asked("kafka", errors, lambda: self._kafka(table, redis=workers is not None))
        letters = None
        if kafka is not None:
            if table is not None and "redis" not in errors:
                found = table
                _asked("routes", errors, lambda: check_in_force(settings, store, found))
            letters = _asked("letters", errors, lambda: letters_of_the_hour(settings.kafka))
        if workers is not None:
            self._count_domains(workers, table.routes if table else (), errors)
        states = {} if workers is None else dict(self._states)
        return Looked(settings.kafka.group, workers, table, states, kafka, letters, errors)

    def _workers(self) -> dict[str, Mapping[str, str]]:
        return workers_of(self._settings.kafka.group, self._store.workers())

    def _kafka(self, table: RouteTable | None, *, redis: bool) -> GroupOverview:
        def positions(group: ConsumerGroup) -> StoredPositions:
            return self._store.positions(group) if redis else StoredPositions(began=True)

        return overview_of(self._settings.kafka, table, positions)

    def _count_domains(
        self,
        workers: Mapping[str, Mapping[str, str]],
        routes: Sequence[Route],
        errors: dict[str, Exception],
    ) -> None:
        """Count the domains of the policies that workers use; of the one in the settings else."""
        if time.monotonic() < self._count_again:
            return
        begun = time.monotonic()
        named = {fields["policy"] for fields in workers.values() if "policy" in fields}
        self._states = {}
        for name in sorted(named) or [self._settings.policy.name]:
            found = _asked(f"policy {name}", errors, partial(self._states_of, routes, name))
            if found is not None:
                self._states[name] = found
        now = time.monotonic()
        self._count_again = now + (now - begun) / _COUNT_SHARE

    def _states_of(self, routes: Sequence[Route], policy: str) -> DomainStates:
        meta = self._store.find(policy)
        if meta is None:
            raise PolicyNotFound(f"no policy has the name {policy}")
        gate = self._store.open(meta).meta.settings.gate
        return count_states(self._store, partial(promise_for, routes, policy=gate))


def workers_of(group: str, alive: Mapping[str, Mapping[str, str]]) -> dict[str, Mapping[str, str]]:
    """Return the heartbeats of a group, of those of all workers."""
    return {name: fields for name, fields in alive.items() if fields.get("group") == group}


def overview_of(
    kafka: KafkaSettings,
    table: RouteTable | None,
    positions: Callable[[ConsumerGroup], StoredPositions],
) -> GroupOverview:
    """Return what Kafka knows of a group; without routes, of the topics that it has read.

    Raises:
        StreamUnavailable: Kafka does not answer within five seconds.
    """
    reads = None if table is None else lambda topic: route_for(table.routes, topic) is not None
    return group_overview(kafka, reads, positions, timeout_s=_ANSWER_S)


def letters_of_the_hour(kafka: KafkaSettings) -> Recent | None:
    """Return the dead letters of the last hour; None without a topic, which the topics show.

    Raises:
        StreamUnavailable: Kafka does not answer.
    """
    since_ms = time.time_ns() // 1_000_000 - _HOUR_MS
    try:
        return recent_letters(kafka, since_ms=since_ms, limit=_LETTERS_MOST)
    except TopicMissing:
        return None


def _asked(what: str, errors: dict[str, Exception], ask: Callable[[], Answer]) -> Answer | None:
    try:
        return ask()
    except (ConsumerError, PolicyStateError) as error:
        errors[what] = error
        return None
