"""Offramp inside another stream library: records in, predictions out, no Kafka."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Self

from consumer.events.record import BatchOutcome, Record
from consumer.learning.counter import Counting
from consumer.learning.opening import open_store
from consumer.learning.presence import Presence
from consumer.routes.watch import RouteWatch
from consumer.settings.load import Settings, load_settings
from consumer.worker.assembly import load_engine, open_policy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

    from consumer.processor import Peers
    from consumer.routes.table import RouteTable
    from consumer.worker.assembly import Inference
    from policy_state.store.port import Applied

log = logging.getLogger("offramp.plugin")

__all__ = ["Offramp", "Record", "Settings", "load_settings"]


class Offramp:
    """The processing step of a worker, for any host that has records in micro-batches.

    The host reads, writes and commits; Offramp parses, routes, chooses exits, predicts and learns.
    A record's topic, partition and offset say which it is: one that comes again after a crash of
    the host is predicted again but counted once, as long as its offsets grow within a partition. So
    a host without offsets numbers its records, and one whose topics may be deleted and made anew
    tells their ids.

        with Offramp(load_settings()) as offramp:
            outcome = offramp.process(records)

    Not for use by several threads at once.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        engine: Inference | None = None,
        topic_id: Callable[[str], str] = str,
    ) -> None:
        """Load the model and open the policy.

        Args:
            settings: of the `kafka` section only `format`, `group` and `dead_letters` are used,
                the latter two for the routes; `errors`, `batch` and `worker` are not, for the host
                decides on these. Hosts that run beside each other need an `instance` each.
            engine: the model to run; by default the one that the settings name.
            topic_id: the id of a topic by its name, asked for every batch: another one where the
                topic's offsets start anew. By default the name, which is for topics that stay.

        Raises:
            ModelError: the model cannot be loaded.
            PolicyStateError: the store does not answer, or holds the policy for another model.
        """
        engine = engine or load_engine(settings)
        self._store = open_store(settings)
        try:
            self._step, opened = open_policy(settings, engine, self._store)
            self._watch = RouteWatch(settings.group_routes, self._store, instance=settings.instance)
        except BaseException:
            self._store.close()
            raise
        self._policy = opened.meta.settings
        self._counting = Counting(
            self._store, opened, topic_id=topic_id, on_settings=self._take_settings
        )
        self._presence = Presence(
            self._store, self._counting, opened.meta, instance=settings.instance
        )
        self._topic_id = topic_id
        self._group = settings.kafka.group
        self._routes: RouteTable | None = None
        self._watch.start()

    def process(
        self, records: Sequence[Record], *, begins: Mapping[tuple[str, int], int] | None = None
    ) -> BatchOutcome:
        """Predict and learn from a micro-batch.

        Args:
            records: all that there are of each partition, in order.
            begins: by topic and partition, from where on the host has read it for this batch. What
                lies between there and the first record, such as markers of transactions, is then
                known to be no text; by default it is a gap, as if a text there were not counted.

        Returns:
            A prediction or a dead letter for every record.
            `consumer.events.codec.encode_prediction` turns a prediction into the documented JSON.

        While the store is away, exits are chosen by what is known, and what is learnt is held.

        Raises:
            ModelFailed: the model fails on every text; nothing of these records was learnt.
            StoreError: the store refuses for good; nothing of these records was learnt.
        """
        if self._routes is not self._watch.latest:
            self._routes = self._watch.latest
            self._step = self._step.with_policy(self._policy, self._routes.routes)
        self._presence.keep_up(lambda: {"group": self._group, "routes": self._watch.latest.version})
        prepared = self._step.prepare(records)
        outcome = self._step.run(prepared, self._counting.current, self._presence.peers)
        self._counting.committed()  # the batch before: a host asks for no other until it is through
        self._counting.count(
            records, outcome.predictions, outcome.epochs, begins=self._by_id(records, begins or {})
        )
        return outcome

    def _by_id(
        self, records: Sequence[Record], begins: Mapping[tuple[str, int], int]
    ) -> dict[tuple[str, int], int]:
        """Return where partitions begin, by the ids of the topics of these records."""
        ids = {r.topic: r.topic_id or self._topic_id(r.topic) for r in reversed(records)}
        return {(ids[t], number): at for (t, number), at in begins.items() if t in ids}

    @property
    def peers(self) -> Peers:
        """How many hosts and workers share the counters, and what all domains have learnt."""
        return self._presence.peers

    def close(self) -> None:
        """Bring what is held to the store, and close the connection to it."""
        try:
            if not self._counting.flush(insist=True):
                log.error("ends with texts not counted texts=%d", self._counting.held_texts)
        finally:
            self._counting.close()
            self._watch.close()
            self._store.close()

    def _take_settings(self, answer: Applied) -> None:
        """Go on with settings that were changed for all workers."""
        self._policy, self._routes = answer.settings, None

    def __enter__(self) -> Self:
        """Return it."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()
