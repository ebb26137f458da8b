"""What holds up which partitions: these stand still while all others continue."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from consumer.errors import StreamUnavailable, TopicRefused, WorkerFenced
from consumer.process.rounds import Rounds

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from consumer.events.record import Record

log = logging.getLogger("offramp.worker")

Partition = tuple[str, int]  # topic, number

_PAUSES_S: Final = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0)
_SAY_S: Final = 60.0
_CALM_S: Final = 60.0  # after this long without a record an obstacle counts as gone
_NOT_READ: Final = -1
_NAMED: Final = 5
_LOOK_S: Final = 0.5
_AFTER_FAULT_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Something that is wrong with one route or topic."""

    what: str  # `topic predictions`, `schema 7`
    cause: str
    advice: str  # how to fix it
    topic: str | None = None  # the topic that cannot be written to, if it is one
    every_record: bool = False  # whether it refuses every record

    @classmethod
    def of(cls, error: TopicRefused, *, every_record: bool) -> Obstacle:
        """Return the obstacle that a topic is which refuses records."""
        every_record = every_record and not error.only_keyless
        return cls(f"topic {error.topic}", error.cause, error.advice, error.topic, every_record)

    def __str__(self) -> str:
        return f"{self.what} {self.cause}"


@dataclass(slots=True)
class _Standing:
    """One obstacle, and the partitions that it holds up, each from an offset on."""

    obstacle: Obstacle
    since: float
    said: float
    retry_at: float
    partitions: dict[Partition, int] = field(default_factory=dict)
    tries: int = 0
    ready: bool = False  # brokers say that another try may succeed
    let_go_at: float | None = None  # since when its partitions are read again, as a test


class Obstacles:
    """The partitions that stand still, why, and when to try again. Any thread may use it."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.RLock()
        self._standing: dict[str, _Standing] = {}
        self._all_said = -_SAY_S

    def __bool__(self) -> bool:
        """Whether anything is in the way."""
        return bool(self._standing)

    def stop(self, obstacle: Obstacle, partitions: Mapping[Partition, int]) -> None:
        """Let partitions stand still, each before an offset; a known obstacle is tried again later.

        Without partitions the obstacle is only noted, and `keep` adds those that need its topic.
        """
        with self._lock:
            now = self._clock()
            known = self._standing.get(obstacle.what)
            if known is None:
                known = _Standing(obstacle, since=now, said=now, retry_at=now)
                self._standing[obstacle.what] = known
            told = known.obstacle != obstacle or not known.tries
            known.obstacle = obstacle
            known.partitions |= partitions
            if now >= known.retry_at or known.let_go_at is not None:
                known.retry_at = now + _PAUSES_S[min(known.tries, len(_PAUSES_S) - 1)]
                known.tries += 1
            known.let_go_at, known.ready = None, False
            if told:
                known.said = now
                log.error("stands still %s", _described(known, now))

    def standing(self) -> frozenset[Partition]:
        """Return the partitions that stand still."""
        with self._lock:
            return frozenset(
                partition
                for known in self._standing.values()
                if known.let_go_at is None
                for partition in known.partitions
            )

    def passable(self, records: Iterable[Record]) -> tuple[Record, ...]:
        """Return the records whose partitions do not stand still."""
        standing = self.standing()
        return tuple(r for r in records if (r.topic, r.partition) not in standing)

    def passed(self, records: Iterable[Record]) -> None:
        """Note that records are committed, so that nothing holds them up any more."""
        if not self._standing:
            return
        last = {(r.topic, r.partition): r.offset for r in records}
        with self._lock:
            for known in list(self._standing.values()):
                if known.let_go_at is None:
                    continue
                for partition, offset in list(known.partitions.items()):
                    if last.get(partition, _NOT_READ - 1) >= offset:
                        del known.partitions[partition]
                if not known.partitions:
                    self._over(known)

    def due_topics(self) -> list[str]:
        """Return the topics to check again before anything is written to them."""
        with self._lock:
            return [
                known.obstacle.topic
                for known in self._standing.values()
                if known.obstacle.topic is not None and self._due(known) and not known.ready
            ]

    def ready(self, topic: str) -> None:
        """Note that brokers report nothing wrong with a topic any more."""
        with self._lock:
            for known in self._standing.values():
                known.ready |= known.obstacle.topic == topic

    def try_again(self, *, busy: Collection[Partition]) -> None:
        """Let partitions be read again if it is time for it and they are not `busy`."""
        with self._lock:
            for known in list(self._standing.values()):
                waits_for_look = known.obstacle.topic is not None and not known.ready
                if not self._due(known) or waits_for_look:
                    continue
                if known.partitions.keys().isdisjoint(busy):
                    known.let_go_at = self._clock()
                    if not known.partitions:
                        self._over(known)

    def keep(
        self,
        partitions: Mapping[Partition, str | None],
        *,
        busy: Collection[Partition],
        written: Collection[str],
    ) -> None:
        """Follow what is read now; log what stands still once a minute.

        Args:
            partitions: the assigned partitions, and the topic that their route writes to.
            busy: partitions with records in an open batch; as these are left out of it, they
                stand still until it is committed.
            written: the topics that any route writes to, and the dead-letter topic.
        """
        with self._lock:
            now = self._clock()
            for known in list(self._standing.values()):
                obstacle = known.obstacle
                if obstacle.every_record and known.let_go_at is None:
                    for partition, output in partitions.items():
                        if output == obstacle.topic:
                            known.partitions.setdefault(partition, _NOT_READ)
                for gone in known.partitions.keys() - partitions.keys() - set(busy):
                    del known.partitions[gone]
                calm = known.let_go_at is not None and now - known.let_go_at > _CALM_S
                nobody = not known.partitions and obstacle.topic not in written
                if calm or nobody:
                    self._over(known)
                elif now - known.said >= _SAY_S:
                    known.said = now
                    log.error("stands still %s", _described(known, now))
            all_stand = bool(partitions) and self.standing() >= partitions.keys()
            if all_stand and now - self._all_said >= _SAY_S:
                self._all_said = now
                log.error("all stand still: this worker has no partition that it can read now")

    def clear(self) -> None:
        """Forget everything, because other routes are in force."""
        with self._lock:
            self._standing.clear()

    def said(self) -> str:
        """Return what stands still and why in one line, empty if nothing does."""
        with self._lock:
            return "; ".join(
                f"{known.obstacle} ({_named(known.partitions)})"
                for known in self._standing.values()
            )

    def _due(self, known: _Standing) -> bool:
        return known.let_go_at is None and self._clock() >= known.retry_at

    def _over(self, known: _Standing) -> None:
        del self._standing[known.obstacle.what]
        log.info("continues what=%r for_s=%.0f", known.obstacle.what, self._clock() - known.since)


class TargetWatch(Rounds):
    """Checks each topic that routes write to once, and those that hold partitions up repeatedly.

    It does so in its own thread, so that no batch waits for the answers.
    """

    def __init__(
        self, look: Callable[[str], None], obstacles: Obstacles, *, dead_letters: str
    ) -> None:
        """Check nothing yet.

        Args:
            look: returns if a topic can be written to, else raises TopicRefused.
            obstacles: gets what is found.
            dead_letters: the topic that only some records go to.
        """
        super().__init__("offramp-targets", first_s=_LOOK_S)
        self._look = look
        self._obstacles = obstacles
        self._dead_letters = dead_letters
        self._unseen: list[str] = []

    def follow(self, topics: Collection[str]) -> None:
        """Check these topics soon."""
        self._unseen = sorted(topics)

    def _round(self) -> float:
        unseen = self._unseen
        left = [topic for topic in unseen if not self._told(topic)]
        if self._unseen is unseen:  # `follow` was not called meanwhile
            self._unseen = left
        for topic in self._obstacles.due_topics():
            self._told(topic)
        return _LOOK_S

    def _told(self, topic: str) -> bool:
        """Check a topic and note what is found; return whether a broker answered."""
        try:
            self._look(topic)
        except TopicRefused as error:
            every_record = topic != self._dead_letters
            self._obstacles.stop(Obstacle.of(error, every_record=every_record), {})
        except (StreamUnavailable, WorkerFenced) as error:  # the worker itself notices, and ends
            log.debug("topic not checked topic=%s error=%s", topic, error)
            return False
        except Exception:  # else no topic would be checked again, and all would stand still
            log.exception("topic not checked topic=%s", topic)
            self._stopped.wait(_AFTER_FAULT_S)
            return False
        else:
            self._obstacles.ready(topic)
        return True


def _described(known: _Standing, now: float) -> str:
    obstacle = known.obstacle
    return (
        f"partitions={_named(known.partitions)} what={obstacle.what!r} cause={obstacle.cause!r} "
        f"fix={obstacle.advice!r} for_s={now - known.since:.0f} tries={known.tries}"
    )


def _named(partitions: Collection[Partition]) -> str:
    if not partitions:
        return "none"
    names = [f"{topic}[{number}]" for topic, number in sorted(partitions)]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ",".join(names[:_NAMED]) + more
