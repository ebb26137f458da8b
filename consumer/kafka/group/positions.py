"""Where this worker's group begins and continues, kept in Redis for when Kafka has forgotten it."""

from __future__ import annotations

import logging
import re
import threading
import time
from typing import TYPE_CHECKING, Final

from kafka import IsolationLevel

from consumer.kafka.group.offsets import committed_topics, known_group
from consumer.kafka.topics import connected, log_offsets, partition_sources
from policy_state.errors import StoreError, StoreUnavailable

if TYPE_CHECKING:
    from kafka import KafkaAdminClient

    from consumer.settings.sections import KafkaSettings
    from policy_state.store.groups import ConsumerGroup, PositionStore

log = logging.getLogger("offramp.stream")

_EVERY_S: Final = 2.0
_PAUSE_S: Final = 5.0  # a store that does not answer is left alone for so long


class Positions:
    """The positions of one group: told by a store, and noted there every few seconds.

    They are noted after Kafka has them, so they may be behind, by what a worker that was killed had
    not noted yet, and are never ahead: continuing there loses nothing.
    """

    def __init__(self, store: PositionStore, group: ConsumerGroup) -> None:
        self._store = store
        self._group = group
        self._lock = threading.Lock()
        self._news: dict[str, int] = {}
        self._noted: dict[str, int] = {}
        self._next = 0.0
        self._away_until = 0.0

    def kept(self, source: str) -> int | None:
        """Return where the group continues in `<topic id>/<partition>`; None where nobody knows.

        Raises:
            StoreUnavailable: the store does not answer, or did not a moment ago.
            StoreError: it answers something odd.
        """
        with self._lock:
            if source in self._news:
                return self._news[source]
        if time.monotonic() < self._away_until:
            raise StoreUnavailable("redis did not answer a moment ago", cause="connection")
        try:
            return self._store.position(self._group, source)
        except StoreUnavailable:
            self._away_until = time.monotonic() + _PAUSE_S
            raise

    def note(self, source: str, offset: int) -> None:
        """Take note of what is committed, or where reading continues; nothing is sent yet."""
        with self._lock:
            self._news[source] = self._noted[source] = offset

    def noted(self, source: str) -> int | None:
        """Return what was noted of a partition last."""
        with self._lock:
            return self._noted.get(source)

    def keep_up(self, *, insist: bool = False) -> None:
        """Send what was noted, every few seconds or now; what cannot be sent is sent later."""
        if not insist and time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _EVERY_S
        with self._lock:
            news = dict(self._news)
        try:
            self._store.keep_positions(self._group, news)
        except StoreError as error:  # Kafka has them, which is enough for days
            log.warning("cannot write positions to redis partitions=%d error=%s", len(news), error)
            return
        with self._lock:
            self._news = {s: at for s, at in self._news.items() if news.get(s) != at}


def begun_group(
    admin: KafkaAdminClient, settings: KafkaSettings, topics: str, store: PositionStore
) -> Positions:
    """Return the positions of a group, which begins now where it has not.

    With `start = "latest"` it begins at the ends of the logs that there are now. What is made later
    is read from its first record, whoever is there to notice.

    Raises:
        KafkaError: the broker does not tell.
        StoreError: the store refuses, or does not answer.
    """
    group = known_group(admin, settings.group)
    if not store.group_began(group):
        timeout_s = settings.request_timeout_s
        ends: dict[str, int] = {}
        # A group that has committed anything began before that was noted anywhere else.
        if settings.start == "latest" and not committed_topics(
            admin, group.name, timeout_s=timeout_s
        ):
            ends = _ends(admin, topics)
        if store.begin_group(group, ends):
            log.info("group begins name=%s partitions_at_their_end=%d", group.name, len(ends))
    return Positions(store, group)


def topics_of_unknown(settings: KafkaSettings, store: PositionStore) -> set[str]:
    """Return the topics of which a group has committed something that the store knows nothing of.

    Raises:
        StreamUnavailable: the broker does not tell.
        StoreError: the store refuses, or does not answer.
    """
    with connected(settings, "reading the group's offsets") as admin:
        if store.group_began(known_group(admin, settings.group)):
            return set()
        return committed_topics(admin, settings.group, timeout_s=settings.request_timeout_s)


def _ends(admin: KafkaAdminClient, topics: str) -> dict[str, int]:
    """Return where the log of each partition ends, by `<topic id>/<partition>`."""
    sources = partition_sources(
        admin, [name for name in admin.list_topics() if re.match(topics, name)]
    )
    # What is written in a transaction that is open becomes readable later.
    ends = log_offsets(admin, sources, isolation_level=IsolationLevel.READ_COMMITTED)
    return {sources[tp]: end for tp, end in ends.items()}
