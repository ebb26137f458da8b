"""Offramp: records in, predictions out, and what is learnt shared. Knows no Kafka."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Self

from consumer.errors import RecordHeldUp, ServiceRefused, ServiceUnavailable
from consumer.events.codec import EventBody, parse
from consumer.events.formats import FORMS
from consumer.events.record import BatchOutcome, Record
from consumer.events.registry import Registry
from consumer.learning.counter import Counting
from consumer.learning.presence import Presence
from consumer.opening import load_engine, open_policy, open_store, prove_rights
from consumer.predictor import ModelFacts
from consumer.processor import Processor
from consumer.routes.watch import RouteWatch
from policy_state.algorithms.base import build

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from consumer.opening import Inference
    from consumer.processor import Prepared
    from consumer.routes.table import RouteTable
    from consumer.settings.load import Settings
    from consumer.settings.sections import KafkaSettings
    from policy_state.store.values import OpenedPolicy

log = logging.getLogger("offramp")


@dataclass(frozen=True, slots=True)
class InForce:
    """What people have set and all workers go by now; replaced as a whole."""

    policy: OpenedPolicy  # its settings and limits, and their revision
    routes: RouteTable


class Offramp:
    """Parses, routes, chooses exits, predicts and learns, for any host with micro-batches.

    The host reads, writes and commits. A record's topic, partition and offset say which it is: one
    that comes again after a crash of the host is predicted again but counted once, as long as its
    offsets grow within a partition. So a host without offsets numbers its records, and one whose
    topics may be deleted and made anew tells their ids.

        with Offramp(load_settings()) as offramp:
            outcome = offramp.process(records)

    `process` is for one thread. A worker takes its steps by itself, for its batches overlap: it has
    `processor` prepare one, `run`s another, and lets `counting` count a third, each in a thread.
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
            settings: of the `kafka` section only `format`, `fields`, `registry`, `group` and
                `dead_letters` are used, the latter two for the routes; `errors`, `batch` and
                `worker` are not, for the host decides on these. Each host needs its own `instance`.
            engine: the model to run; by default the one that the settings name.
            topic_id: the id of a topic by its name, asked for once a batch: another one where the
                topic's offsets start anew. By default the name, which is for topics that stay.

        Raises:
            ModelError: the model cannot be loaded.
            PolicyStateError: the store does not answer, does not let us write, or holds the policy
                for another model.
        """
        engine = engine or load_engine(settings)
        self.store = open_store(settings)
        try:
            prove_rights(settings, self.store)
            opened = open_policy(settings, engine, self.store)
            self.watch = RouteWatch(settings.group_routes, self.store, instance=settings.instance)
        except BaseException:
            self.store.close()
            raise
        self.counting = Counting(self.store, opened, by=settings.instance)
        self.presence = Presence(self.store, self.counting, opened.meta, instance=settings.instance)
        self.processor = _processor(settings, engine, opened)
        self.follow(self.watch.latest)
        self._topic_id = topic_id
        self._group = settings.kafka.group
        self.watch.start()

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
            A prediction or a dead letter for every record. `encode_prediction` turns a prediction
            into the documented JSON.

        While the store is away, exits are chosen by what is known, and what is learnt is held.

        Raises:
            ModelFailed: the model fails on every text; nothing of these records was learnt.
            RecordHeldUp: the schema registry does not tell how to read one; nothing was learnt.
            StoreError: the store refuses permanently; nothing of these records was learnt.
        """
        if self.watch.latest is not self.in_force.routes:
            self.follow(self.watch.latest)
        self.keep_up()
        outcome = self.run(self.processor.prepare(records))
        self.counting.committed()  # the batch before: a host asks for no other until it is through
        ids = {
            topic: self._topic_id(topic) for topic in {r.topic for r in records if not r.topic_id}
        }
        known = ids | {r.topic: r.topic_id for r in reversed(records) if r.topic_id}
        self.counting.count(
            records,
            outcome.predictions,
            outcome.epochs,
            begins={(known[t], n): at for (t, n), at in (begins or {}).items() if t in known},
            ids=ids,
        )
        return outcome

    def run(self, prepared: Prepared) -> BatchOutcome:
        """Choose exits by what is known now, and predict."""
        if self.counting.known.policy is not self.in_force.policy:
            self.follow(self.in_force.routes)
        return self.processor.run(prepared, self.counting.known.current, self.presence.peers)

    def follow(self, routes: RouteTable) -> None:
        """Go on by these routes and the latest settings; no batch may be prepared by others."""
        self.in_force = InForce(self.counting.known.policy, routes)
        settings = self.in_force.policy.meta.settings
        self.processor = self.processor.with_policy(settings, routes.routes)

    def keep_up(self, more: Callable[[], Mapping[str, str | int]] = dict) -> None:
        """Show that this host lives, with `more` than that; a store that is away stops nothing."""
        self.counting.known.keep_up()
        self.presence.keep_up(
            lambda: {"group": self._group, "routes": self.in_force.routes.version, **more()}
        )

    def close(self) -> None:
        """Bring what is held to the store, and close the connection to it."""
        try:
            if not self.counting.flush(insist=True):
                log.error("ends with texts not counted texts=%d", self.counting.pending.texts)
        finally:
            self.disconnect()

    def disconnect(self) -> None:
        """Close the connection to the store; what is held is given up."""
        self.counting.known.close()
        self.watch.close()
        self.store.close()

    def __enter__(self) -> Self:
        """Return it."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()


def _processor(settings: Settings, engine: Inference, opened: OpenedPolicy) -> Processor:
    """Return a processor without routes."""
    config, meta = engine.config, opened.meta
    return Processor(
        infer=engine.run_tokens,
        tokenise=engine.tokenise,
        model=ModelFacts(
            engine.fingerprint, config.exit_layers, config.labels, calibrated=meta.calibrated
        ),
        algorithm=build(meta.settings, meta.layers, credits=meta.calibrated),
        parse=partial(_parse_or_wait, parser_of(settings.kafka)),
    )


def parser_of(settings: KafkaSettings) -> Callable[[Record], EventBody]:
    """Return what reads values of the format that the settings name."""
    decode = None
    if settings.format in FORMS:
        decode = Registry(settings.registry, form=settings.format)
    return partial(parse, form=settings.format, fields=settings.fields, decode=decode)


def _parse_or_wait(read: Callable[[Record], EventBody], record: Record) -> EventBody:
    """Return the event, or say which record waits where a registry does not tell its schema."""
    try:
        return read(record)
    except (ServiceUnavailable, ServiceRefused) as error:
        raise RecordHeldUp(
            record.topic, record.partition, record.offset, cause=f"cannot be read: {error}"
        ) from error
