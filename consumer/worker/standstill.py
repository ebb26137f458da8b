"""A worker's partitions that stand still for what only their route is troubled by."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from consumer.errors import RecordHeldUp, StreamUnavailable
from consumer.routes.route import route_for
from consumer.worker.obstacles import Obstacle, Obstacles, TargetWatch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from consumer.errors import TopicRefused
    from consumer.events.record import BatchOutcome, Record
    from consumer.kafka.reading.batch import Batch
    from consumer.kafka.stream import KafkaStream
    from consumer.processor import Prepared, Processor
    from consumer.routes.route import Route
    from consumer.worker.obstacles import Partition

_SAID_CHARACTERS: Final = 500
_REGISTRY_ADVICE = "see kafka.registry, `offramp worker --check`"


class Standstill:
    """Takes out of batches what cannot be read or written yet, and has it read again later.

    A partition that stands still is read no further, and what is under way of it is left out of
    its batches, so that all else is committed. `keep_up` and `follow` belong to the thread that
    reads; the others may be called by those that prepare and commit.
    """

    def __init__(
        self, stream: KafkaStream, routes: Callable[[], Sequence[Route]], *, dead_letters: str
    ) -> None:
        """Begin with nothing that stands still; `routes` returns those in force."""
        self._stream = stream
        self._routes = routes
        self._dead_letters = dead_letters
        self._obstacles = Obstacles()
        self._watch = TargetWatch(stream.look_at, self._obstacles, dead_letters=dead_letters)
        self.follow()
        self._watch.start()

    def follow(self) -> None:
        """Take note of other routes: what stands still may have another output now."""
        self.give_back()
        self._written = {self._dead_letters, *(route.output for route in self._routes())}
        self._obstacles.clear()
        self._watch.follow(self._written)

    def give_back(self) -> None:
        """Have read again what was left out of batches."""
        self._stream.stand_still(self._obstacles.standing())

    def keep_up(self, under_way: Sequence[Batch]) -> None:
        """Let the stream stand still where there is something in the way, and try that again."""
        self.give_back()  # before any of it may be read on
        if self._obstacles:
            busy = {(r.topic, r.partition) for batch in under_way for r in batch.records}
            self._obstacles.try_again(busy=busy)
            assigned, routes = self._stream.assigned(), self._routes()
            found = {topic: route_for(routes, topic) for topic, _ in assigned}
            outputs = {tp: route.output if (route := found[tp[0]]) else None for tp in assigned}
            self._obstacles.keep(outputs, busy=busy, written=self._written)
            self.give_back()

    def prepare(self, processor: Processor, records: Sequence[Record]) -> Prepared:
        """Prepare the records that can be read now; what cannot stands still."""
        while True:
            try:
                return processor.prepare(self._obstacles.passable(records))
            except RecordHeldUp as error:
                obstacle = Obstacle(f"texts of {error.topic}", error.cause, _REGISTRY_ADVICE)
                self._obstacles.stop(obstacle, {(error.topic, error.partition): error.offset})

    def left_out(self, batch: Batch, outcome: BatchOutcome) -> tuple[Batch, BatchOutcome]:
        """Return a batch and what became of it without the partitions that stand still."""
        if not self._obstacles:
            return batch, outcome
        records = self._obstacles.passable(batch.records)
        if len(records) == len(batch.records):
            return batch, outcome
        kept = {(r.topic, r.partition) for r in records}
        return replace(batch, records=records), replace(
            outcome,
            predictions=tuple(p for p in outcome.predictions if _key(p.event.record) in kept),
            dead_letters=tuple(d for d in outcome.dead_letters if _key(d.record) in kept),
        )

    def refused(self, error: TopicRefused, outcome: BatchOutcome) -> None:
        """Let the partitions stand still that have a record for a topic which does not take it.

        Raises:
            StreamUnavailable: there are none.
        """
        stuck: dict[Partition, int] = {}
        written = [
            *((p.event.output, p.event.record) for p in outcome.predictions),
            *((self._dead_letters, letter.record) for letter in outcome.dead_letters),
        ]
        for topic, record in written:
            if topic == error.topic and not (error.only_keyless and record.key is not None):
                stuck[_key(record)] = min(record.offset, stuck.get(_key(record), record.offset))
        if not stuck:
            raise StreamUnavailable(str(error)) from error
        every_record = error.topic != self._dead_letters
        self._obstacles.stop(Obstacle.of(error, every_record=every_record), stuck)

    def gone(self, topic: str, batch: Batch) -> None:
        """Let the partitions of a topic that was deleted stand still, until they are let go."""
        # If it is there again its offsets begin again: any record of it says that this is over.
        stuck = {_key(record): 0 for record in batch.records if record.topic == topic}
        obstacle = Obstacle(f"input topic {topic}", "was deleted", "nothing, if that was meant")
        self._obstacles.stop(obstacle, stuck)

    def committed(self, batch: Batch) -> None:
        """Note what got through."""
        self._obstacles.passed(batch.records)

    def count(self) -> int:
        """Return how many partitions stand still, or cannot be read."""
        return len(self._obstacles.standing()) + len(self._stream.unreadable())

    def said(self) -> str:
        """Return what stands still and why in one line, empty if nothing does."""
        said = [self._obstacles.said(), *self._stream.unreadable()]
        return "; ".join(filter(None, said))[:_SAID_CHARACTERS]

    def close(self) -> None:
        """Look at topics no longer."""
        self._watch.close()


def _key(record: Record) -> Partition:
    return record.topic, record.partition
