"""A worker as a member of its group: what it is assigned, what it has lost, and who else is in."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from kafka import ConsumerRebalanceListener, KafkaConsumer, TopicPartition
from kafka import errors as kafka_errors
from kafka.structs import MemberState

from consumer.errors import StreamRefused, StreamUnavailable
from consumer.kafka import private
from consumer.kafka.group.resting import Resting
from consumer.kafka.group.start import StartOffsets
from consumer.kafka.reading.fetching import Fetching
from consumer.kafka.topics import described_ids

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from kafka import KafkaAdminClient
    from kafka.structs import ConsumerGroupMetadata

    from consumer.events.record import Record
    from consumer.kafka.group.positions import Positions
    from consumer.kafka.reading.buffer import Partition
    from consumer.settings.sections import KafkaSettings

ADVICE: Final = "give the workers a separate kafka.group, or stop these members"
_MEMBERS_SHOWN: Final = 3
_JOIN_POLL_MS: Final = 500  # a join of the group finishes inside a poll: shorter ones starve it


class Member(ConsumerRebalanceListener):
    """A consumer in its group; what it polls is of partitions that it holds, from where they are.

    A member of the same name that comes back within its session has its partitions again.
    """

    def __init__(  # noqa: PLR0913  (its connections, and who it is)
        self,
        client: Mapping[str, Any],
        settings: KafkaSettings,
        *,
        name: str,
        topics: str,
        positions: Positions,
        admin: KafkaAdminClient,
    ) -> None:
        """Connect; it joins the group as it is polled, and reads what `topics` matches."""
        self.consumer = KafkaConsumer(
            **client,
            group_id=settings.group,
            group_instance_id=name,
            enable_auto_commit=False,
            auto_offset_reset="none",  # see `StartOffsets`
            isolation_level="read_committed",
            metrics_enabled=False,  # nobody reads them
            metadata_max_age_ms=int(settings.metadata_max_age_s * 1000),
            session_timeout_ms=int(settings.session_timeout_s * 1000),
            partition_assignment_strategy=[private.Assignor],
        )
        self._coordinator = private.coordinator_of(self.consumer)
        self._lock = threading.Lock()
        self._revoked: set[TopicPartition] = set()
        self._last: ConsumerGroupMetadata | None = None  # the last membership of a stable group
        self.subscribe(topics)
        self._admin = admin
        self._joining_since: float | None = None
        self.resting = Resting()
        self.start = StartOffsets(
            self.consumer,
            positions,
            self.topic_id,
            told_id=self.told_id,
            timeout_s=settings.request_timeout_s,
        )
        self._fetching = Fetching(self.consumer, refused=self._take_error, topics=self.start.topics)

    @property
    def joining(self) -> bool:
        """Whether it was joining its group when that was last looked at."""
        return self._joining_since is not None

    @property
    def silent_s(self) -> float:
        """For how long no broker has answered."""
        answered_ms = private.answered_ms(private.cluster_of(self.consumer))
        return float(time.monotonic() - answered_ms / 1000)

    def subscribe(self, topics: str) -> None:
        """Read these topics from now on, by a regular expression."""
        self.consumer.subscribe(pattern=topics, listener=self)

    def topic_id(self, topic: str) -> str:
        """Return the id of a topic as far as it is known; it is asked for only where it is not."""
        known = private.cluster_of(self.consumer).topic_id(topic)
        return self.told_id(topic) if known is None else str(known)

    def told_id(self, topic: str) -> str:
        """Return the id of a topic as a broker tells it now; see `described_ids`."""
        return described_ids(self._admin, [topic])[topic]

    def check_topics(self, read: Iterable[tuple[str, str | None]]) -> None:
        """Return if topics have still the ids that they were read by, as far as is known.

        Raises:
            SourceGone: one was deleted.
            StreamUnavailable: one was deleted and made anew, or the broker does not tell.
        """
        doubted = {topic: found for topic, found in read if self.topic_id(topic) != found}
        told = described_ids(self._admin, doubted)
        if made_anew := [topic for topic, found in doubted.items() if told[topic] != found]:
            raise StreamUnavailable(
                f"topic {made_anew[0]} was deleted and created again: its old batch is dropped"
            )

    def poll(self, timeout_ms: int, full: Iterable[Partition]) -> dict[Partition, list[Record]]:
        """Take part in the group, and return what has come in of partitions that are not full.

        Raises:
            KafkaError: of more than a partition.
        """
        if self._coordinator.need_rejoin() or self.joining:
            timeout_ms = max(timeout_ms, _JOIN_POLL_MS)
        assigned, paused = self.consumer.assignment(), self.consumer.paused()
        still = {TopicPartition(*key) for key in full} | self.resting.still(assigned)
        still |= {tp for tp in assigned if tp not in self.start}
        self.consumer.pause(*(still - paused))
        self.consumer.resume(*(paused - still))
        try:
            return self._fetching.poll(timeout_ms)
        except kafka_errors.NoOffsetForPartitionError as error:  # just assigned, as a rule
            self.start.forget(error.args[0])
        except kafka_errors.LogTruncationError as error:
            self.start.cut_off(error.divergent_offsets)
        return {}

    def _take_error(self, partition: TopicPartition, error: Exception) -> None:
        if isinstance(error, kafka_errors.OffsetOutOfRangeError):
            self.start.astray(error.args[0])
        else:
            self.resting.add(partition, error)

    def take_membership(self) -> tuple[ConsumerGroupMetadata | None, set[TopicPartition]]:
        """Return what the offsets of what is taken now are committed under, and what was lost.

        Offsets of partitions that go to another worker after this are refused. It is None if
        something was lost before, or while the member joins.
        """
        membership = self.consumer.group_metadata()
        lost = self.take_lost()
        stays = not lost and membership.state == MemberState.STABLE
        return (membership if stays else None), lost

    def take_lost(self) -> set[TopicPartition]:
        """Return the partitions that may have been another member's since the last call."""
        with self._lock:
            lost, self._revoked = self._revoked, set()
        now = self.consumer.group_metadata()
        if now.state == MemberState.STABLE:
            # kafka-python tells of nothing where the group lets a member go that is joining: others
            # may have had its partitions before it got them again.
            if self._last is None and private.own_assignment(self._coordinator) is None:
                # A worker that is back within its session gets the partitions that it had, and
                # nobody those made meanwhile. Where it leads the group, asking anew assigns them.
                self._coordinator.request_rejoin()
            if self._last is not None and not _follows(now, self._last):
                lost |= self.consumer.assignment()
            self._last = now
        return lost

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Note that they are gone, or soon will be; this is called on the client's own thread."""
        with self._lock:
            self._revoked |= set(revoked)

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Nothing: `StartOffsets` says from where they are read."""

    def joining_s(self) -> float:
        """Return for how long it has been joining the group, and have it continue with that.

        kafka-python forgets a join that it began because the topics have changed and that was not
        over within one poll: it would stay outside the group. Being asked, it continues with it.
        """
        if self.consumer.group_metadata().state == MemberState.STABLE:
            self._joining_since = None
            return 0.0
        self._coordinator.request_rejoin()
        now = time.monotonic()
        self._joining_since = self._joining_since or now
        return now - self._joining_since


def _follows(now: ConsumerGroupMetadata, before: ConsumerGroupMetadata) -> bool:
    """Return whether the group had no generation in between without this member."""
    generations = now.generation_id - before.generation_id
    return now.member_id == before.member_id and generations in (0, 1)


def foreign(admin: KafkaAdminClient, group: str) -> str | None:
    """Return what is wrong with a group's members for a worker that joins them, if anything is.

    Raises:
        KafkaError: the broker does not tell.
    """
    found = admin.describe_groups([group])[group]
    members = found["members"]
    kind, assignor = found["protocol_type"], found["protocol_data"]
    if not members or not assignor:  # brokers do not tell while members join
        return None
    if (kind, assignor) == ("consumer", private.Assignor.name):
        return None
    names = sorted({str(member["client_id"]) for member in members})
    more = f" and {len(names) - _MEMBERS_SHOWN} more" if len(names) > _MEMBERS_SHOWN else ""
    who = ", ".join(names[:_MEMBERS_SHOWN]) + more
    how = f"the assignor {assignor}" if kind == "consumer" else f"the protocol {kind}"
    return (
        f"group {group} has {len(members)} members ({who}) that use {how}, "
        f"but a worker needs {private.Assignor.name}"
    )


@contextmanager
def explained(admin: KafkaAdminClient, group: str) -> Iterator[None]:
    """Say of a group that cannot be joined who its members are.

    Raises:
        StreamRefused: its members divide its partitions in another way.
    """
    try:
        yield
    except kafka_errors.InconsistentGroupProtocolError as error:
        told = foreign(admin, group) or f"group {group} has members that are not workers"
        raise StreamRefused(f"{told}: {ADVICE}") from error
