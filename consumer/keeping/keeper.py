"""Copies what people have set from Redis to Kafka, and back where Redis has lost it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from consumer.errors import ConsumerError, TopicMissing
from consumer.keeping.check import check_committed
from consumer.keeping.policy_topic import PolicyTopic
from consumer.process.rounds import Rounds
from policy_state.errors import PolicyStateError
from policy_state.store.redis.keeping import Keeping

if TYPE_CHECKING:
    from collections.abc import Callable

    from consumer.settings.load import Settings
    from policy_state.store.kept import Records
    from policy_state.store.redis.keeping import Restored
    from policy_state.store.redis.store import RedisStore

log = logging.getLogger("offramp.keeping")

_EVERY_S: Final = 2.0
_PAUSE_S: Final = 10.0  # after a failure
_MISSING_S: Final = 20.0  # to look again for the topic
_REASON: Final = "redis had lost what the policy topic has"


class Keeper(Rounds):
    """Keeps the policy topic and Redis alike, in a separate thread.

    A command changes Redis alone, so that it needs no Kafka; one worker of the group copies the
    change within seconds. Where Redis has lost what the topic has, that worker brings it back.
    """

    def __init__(
        self, settings: Settings, store: RedisStore, *, policy: str, leads: Callable[[], bool]
    ) -> None:
        """Ask nothing yet.

        Args:
            settings: all of them.
            store: where changes are made.
            policy: the name of the policy that the worker plays.
            leads: whether it is now this worker's to do.
        """
        super().__init__("offramp-keeper", first_s=_EVERY_S)
        self._settings = settings
        self._store = store
        self._keeping = Keeping(store, group=settings.kafka.group, policy=policy)
        self._topic = PolicyTopic(settings.kafka)
        self._kept: Records | None = None
        self._leads = leads

    def begin(self) -> None:
        """Return once it is known that Redis has all that was set, before a text is read.

        Pins, freezes and settings are brought back. Routes are not: a Redis without them may as
        well be the wrong one, and then another fleet's texts would be read, or none.

        Raises:
            RoutesGone: Redis has lost the routes of the group.
            StreamUnavailable: the broker does not answer.
        """
        try:
            self._kept = self._topic.read()
        except TopicMissing:
            self._kept = None
        kept = self._kept or {}
        lost = self._keeping.lost(kept)
        if self._settings.routes is None:
            if "routes" in lost:
                said = f"with {lost['routes']} of their changes"
                raise self._settings.group_routes.gone(said)
            check_committed(self._settings, self._store)
        if "policy" in lost:
            self._say_restored(self._restore(kept, routes=False))

    def look(self) -> bool:
        """Copy what is new, or bring back what is lost; return whether both are alike now.

        Raises:
            ConsumerError, PolicyStateError: Kafka or Redis do not do it now.
        """
        kept = self._kept
        if kept is not None:
            lost = self._keeping.lost(kept)
            if not lost and not self._keeping.news(kept, lost=lost):
                return True
        self._kept = kept = self._topic.read()  # others may have written there
        if lost := self._keeping.lost(kept):
            self._say_restored(self._restore(kept, routes=True))
            lost = self._keeping.lost(kept)  # a policy may wait for its next text, which makes it
        if news := self._keeping.news(kept, lost=lost):
            self._topic.write(news)
            for key, value in news.items():
                if value is None:
                    kept.pop(key, None)
                else:
                    kept[key] = value
            log.info(
                "copied changes to kafka records=%d topic=%s",
                len(news),
                self._settings.kafka.policy_topic,
            )
        return not lost

    def _round(self) -> float:
        if not self._leads():
            return _EVERY_S
        try:
            alike = self.look()
        except (ConsumerError, PolicyStateError) as error:
            missing = isinstance(error, TopicMissing)
            if self._is_news(str(error)):
                log.warning(
                    "pins, freezes, settings and routes are in redis alone for now error=%s%s",
                    error,
                    "; create it with `offramp topics init`" if missing else "",
                )
            return _MISSING_S if missing else _PAUSE_S
        self._is_news("")
        return _EVERY_S if alike else _PAUSE_S

    def _restore(self, kept: Records, *, routes: bool) -> Restored:
        by = self._settings.instance
        return self._keeping.restore(kept, by=by, reason=_REASON, routes=routes, automatic=True)

    def _say_restored(self, done: Restored) -> None:
        if done.changes:
            log.warning(
                "restored what redis had lost from=%s routes=%s settings=%s domains=%d changes=%d",
                self._settings.kafka.policy_topic,
                done.routes,
                done.settings,
                done.domains,
                done.changes,
            )
