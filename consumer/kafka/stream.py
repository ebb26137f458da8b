"""The worker's side of Kafka: micro-batches in, transactions out."""

from __future__ import annotations

import logging
import re
import time
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

from kafka import KafkaAdminClient, TopicPartition
from kafka import errors as kafka_errors

from consumer.errors import StreamUnavailable, WorkerFenced
from consumer.kafka.client import bounded, connect, translated
from consumer.kafka.group.lag import LagWatch, Standing, standing
from consumer.kafka.group.member import Member, explained
from consumer.kafka.group.offsets import to_commit
from consumer.kafka.group.positions import begun_group
from consumer.kafka.reading.batch import Batch
from consumer.kafka.reading.buffer import Buffer
from consumer.kafka.targets import described_refusal
from consumer.kafka.topics import look
from consumer.kafka.writing.transactions import Transactions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from consumer.events.outgoing import Outgoing
    from consumer.settings.sections import BatchSettings, KafkaSettings
    from policy_state.store.groups import PositionStore

log = logging.getLogger("offramp.stream")

_IDLE_POLL_MS = 500
_CLOSE_S = 1.0
_LOOK_S = 3.0


class KafkaStream:
    """Reads micro-batches and commits what became of them, exactly once.

    `collect`, `keep_up` and `rewind` belong to one thread, `commit` may run in another. Batches are
    committed in the order they were collected, or given back together.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        *,
        instance: str,
        topics: str,
        store: PositionStore,
        reached: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Connect, end what a predecessor of the same name left open, and join the group.

        Args:
            settings: addresses, group, limits.
            instance: name of this worker; a second one with the same name fences the first.
            topics: regular expression of the input topics.
            store: keeps positions for longer than Kafka.
            reached: called with the name of each step of a commit before it is done; chaos tests
                end the process there.

        Raises:
            StreamUnavailable, StoreError: broker or store do not answer, or refuse this client.
        """
        self._settings, self._topics = settings, topics
        self._timeout_s = settings.request_timeout_s
        self._unread: set[str] = set()  # topics still assigned here that are no longer read
        self._still: frozenset[tuple[str, int]] = frozenset()  # partitions that are not read on yet
        self._buffer = Buffer(limit_bytes=settings.buffer_bytes)
        self._committed = False
        self._client = connect(settings, name=f"offramp-{instance}")
        self._name = f"{settings.group}-{instance}"
        with ExitStack() as undo, translated("connecting"):
            self._admin = undo.enter_context(closing(KafkaAdminClient(**self._client)))
            self.positions = begun_group(self._admin, settings, topics, store)
            """Where the group is; whoever runs the stream has it kept up."""
            self._transactions = Transactions(
                self._client,
                self._name,
                timeout_s=self._timeout_s,
                reached=reached,
                look=lambda topics: look(self._admin, topics, timeout_s=_LOOK_S),
            )
            undo.enter_context(closing(self._transactions))
            self._member = self._joined()
            undo.pop_all()

    def collect(self, limits: BatchSettings) -> Batch | None:
        """Return the next micro-batch, or None if nothing came in a while.

        It is full at `max_events` or `max_tokens`, or `max_wait_ms` after its first record.

        Raises:
            StreamUnavailable: the broker does not answer.
        """
        begun = time.monotonic()
        self.keep_up(0 if self._buffer.events else _IDLE_POLL_MS)
        while self._buffer.events and not self._member.joining:
            left_ms = limits.max_wait_ms - int(self._buffer.waiting_s * 1000)
            if (
                left_ms <= 0
                or self._buffer.events >= limits.max_events
                or self._buffer.tokens >= limits.max_tokens
            ):
                membership, lost = self._member.take_membership()
                if membership is None:
                    self._give_back(lost)
                    self.keep_up(0)
                    continue
                taken = self._buffer.take(
                    max_events=limits.max_events, max_tokens=limits.max_tokens
                )
                return Batch(tuple(taken), membership, self._member.start.take(taken), begun=begun)
            self.keep_up(left_ms)
        return None

    def passed(self) -> Batch | None:
        """Return a batch without records, up to where reading has come; None: there is nothing.

        No batch may be under way. So up to there is only what no reader gets, such as markers.
        """
        membership, lost = self._member.take_membership()
        self._give_back(lost)
        if membership is None or self._buffer.events or self._member.joining:
            return None
        begins, passed = self._member.start.pass_on()
        return Batch((), membership, begins, passed=passed) if passed else None

    def keep_up(self, timeout_ms: int) -> None:
        """Read ahead until the buffers are full, and take part in the group.

        Raises:
            StreamUnavailable: the broker does not answer.
        """
        with translated("polling"), explained(self._admin, self._settings.group):
            member, start = self._member, self._member.start
            start.begin()
            assigned = member.consumer.assignment()
            full = self._buffer.full(assigned) | (self._still & assigned)
            full |= {tp for tp in assigned if tp.topic in self._unread}
            polled = member.poll(timeout_ms, full)
            self._give_back(member.take_lost())
            assigned = member.consumer.assignment()
            for tp in [tp for tp in assigned if tp not in start]:
                self._buffer.drop(tp)
            for tp, rows in polled.items():
                if tp in assigned and tp in start and tp not in self._still:
                    self._buffer.add(rows)
            start.begin()
        self._check_member()

    def stand_still(self, partitions: frozenset[tuple[str, int]]) -> None:
        """Read no further of these partitions, and of those that stood still so far continue.

        These continue where they are committed; no batch with their records may be under way.
        """
        if partitions != self._still:
            self._give_back([TopicPartition(*key) for key in partitions ^ self._still])
            self._still = partitions

    def unreadable(self) -> list[str]:
        """Return which partitions give errors instead of records, and what is wrong with each."""
        return self._member.resting.said()

    def look_at(self, topic: str) -> None:
        """Return if a topic may be written to, as far as brokers tell. Any thread may ask.

        Raises:
            TopicRefused: it is not there, or may not be written to.
            StreamUnavailable: no broker tells.
        """
        self._transactions.find(topic, timeout_s=_LOOK_S)
        with translated(f"describing {topic}"):
            (described,) = self._admin.describe_topics([topic])
        if (refused := described_refusal(described)) is not None:
            raise refused

    def subscribe(self, topics: str) -> None:
        """Read other topics from now on; no batch may be under way.

        What was read ahead of a topic that is read no longer is given back at once. Its partitions
        leave with the next rebalance; until then they stand still.

        Raises:
            StreamUnavailable: the broker does not answer; the topics are what they were.
        """
        with translated("subscribing"):
            assigned = self._member.consumer.assignment()
            unread = {tp for tp in assigned if not re.match(topics, tp.topic)}
            self._give_back(unread)
            self._member.start.begin()
            self._member.subscribe(topics)
        self._topics, self._unread = topics, {tp.topic for tp in unread}

    def assigned(self) -> list[tuple[str, int]]:
        """Return topic and number of each partition that is this worker's now."""
        return sorted(map(tuple, self._member.consumer.assignment()))

    def committed(self) -> dict[str, int]:
        """Return up to where what is this worker's now is committed, by watermark name."""
        read = {f"{found}/{tp.partition}" for tp, found in self._member.start.topics.ids.items()}
        return {s: at for s in read if (at := self.positions.noted(s)) is not None}

    def standing(self) -> Standing:
        """Return how this member stands in its group."""
        return standing(self._member)

    def lag_watch(self) -> LagWatch:
        """Return what knows the lag of the partitions that are this worker's."""
        return LagWatch(self._admin, self.positions, lambda: (self._member, self._buffer))

    def commit(
        self, batch: Batch, outgoing: Sequence[Outgoing], *, before_commit: Callable[[], None]
    ) -> None:
        """Write everything and mark the records as read, all or nothing; see `Transactions`.

        The offsets carry the generation of the group that the batch was read under: if a partition
        has gone to another worker since, the broker refuses them.

        Raises:
            WorkerFenced: another worker has this name; nothing was committed.
            RecordsTooLarge, TopicRefused, SourceGone: nothing was committed; commit it again
                without them.
            StreamUnavailable: it is not known to be committed; `rewind`, then collect again. Also
                where the group had let this worker go, and it has joined again since.
        """
        ends = batch.ends
        self._member.check_topics({(topic, found) for (topic, _), (found, _) in ends.items()})
        offsets = {TopicPartition(*key): to_commit(at, found) for key, (found, at) in ends.items()}
        try:
            self._transactions.commit(
                outgoing, offsets, batch.membership, before_commit=before_commit
            )
        except WorkerFenced as error:
            by_name = isinstance(error.__cause__, kafka_errors.FencedInstanceIdError)
            now = self._member.consumer.group_metadata()
            if not by_name or now.member_id == batch.membership.member_id:
                raise
            msg = "the batch was read before this worker left the group and joined it again"
            raise StreamUnavailable(msg) from error
        self._committed = True
        for (_, number), (found, at) in ends.items():
            self.positions.note(f"{found}/{number}", at)

    def rewind(self, batches: Iterable[Batch]) -> None:
        """Give batches back: what is still assigned here is read again from where it is committed.

        That happens also where this fails: then the next poll does it.

        Raises:
            WorkerFenced, StreamUnavailable: a new producer was needed and could not be made.
        """
        self._give_back({TopicPartition(*key) for batch in batches for key in batch.ends})
        self._transactions.recover()
        with translated("rewinding"):
            self._member.start.begin()

    def close(self) -> None:
        """Close all connections, within the time limit for all together.

        The group keeps a static member until its session is over, so that it has its partitions
        again where it comes back. Who has committed nothing does not wait for a silent broker.
        """
        deadline = time.monotonic() + (self._timeout_s if self._committed else _CLOSE_S)
        for close in (self._member.consumer.close, self._transactions.close, self._admin.close):
            try:
                bounded(close, timeout_s=max(0.1, deadline - time.monotonic()))
            except (StreamUnavailable, kafka_errors.KafkaError) as error:
                log.warning("close failed error=%r", error)

    def _check_member(self) -> None:
        """Raise if no broker answers, where kafka-python polls on, or if joining does not end."""
        settings, old, limit_s = self._settings, self._member, self._settings.join_timeout_s
        if old.silent_s > settings.metadata_max_age_s + self._timeout_s:
            raise StreamUnavailable(f"no broker has answered for {old.silent_s:.0f} s")
        if (joining_s := old.joining_s()) > limit_s:
            log.warning(
                "joining the group takes too long, trying with a new consumer joining_s=%.0f",
                joining_s,
            )
            with translated("joining anew"):
                self._member = self._joined()
                self._buffer = Buffer(limit_bytes=settings.buffer_bytes)
                bounded(old.consumer.close, timeout_s=self._timeout_s)
            raise StreamUnavailable(f"joining the group took longer than {limit_s} s")

    def _give_back(self, partitions: Iterable[TopicPartition]) -> None:
        """Forget what was read of partitions; they are read on when their start is found again."""
        for tp in partitions:
            self._buffer.drop(tp)
        self._member.start.forget(partitions)

    def _joined(self) -> Member:
        """Return a new member that has read nothing."""
        return Member(
            self._client,
            self._settings,
            name=self._name,
            topics=self._topics,
            positions=self.positions,
            admin=self._admin,
        )
