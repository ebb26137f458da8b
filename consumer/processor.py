"""Parse, route, decide, infer: records in, predictions out. Pure given its inputs, no Kafka."""

from __future__ import annotations

import contextlib
import logging
import random
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from consumer.decision import ALONE, exits_of, gate_of, with_holdout
from consumer.errors import InvalidEvent, blamed
from consumer.events.codec import EventBody, parse
from consumer.events.record import BatchOutcome, DeadLetter, Event, Record
from consumer.laps import Laps
from consumer.predictor import ModelFacts, Predictor
from consumer.routes.route import Route, route_for
from policy_state.algorithms.base import build
from policy_state.algorithms.settings import PolicySettings
from policy_state.store.values import DomainSnapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from consumer.decision import Decision, Peers
    from consumer.laps import Lap
    from consumer.predictor import TextResult, Tokens
    from policy_state.algorithms.base import Algorithm

log = logging.getLogger("offramp.processor")

_parse_any = partial(parse, form="auto")


def _as_they_are(texts: Sequence[str]) -> Sequence[str]:
    return texts


@dataclass(frozen=True, slots=True)
class Prepared:
    """A micro-batch whose exits are yet to be chosen."""

    events: tuple[Event, ...]
    letters: tuple[DeadLetter, ...]
    tokens: Tokens  # of the events' texts; None: the tokeniser failed, `predict` finds out on what
    laps: Mapping[str, Lap] = field(default_factory=dict)  # the stages so far


@dataclass(frozen=True, slots=True)
class Processor:
    """Offramp without a stream: give it records and the counters, get predictions back.

    Every event stops at an exit that `algorithm` chooses from its domain's counters; the labels of
    all exits up to it come with the prediction. A share of the events, the holdout, runs to the
    last exit instead, to measure what stopping earlier changes. Where a gate is open, texts that go
    where their domain has settled may stop sooner.
    """

    infer: Callable[..., Sequence[TextResult]]  # of tokens, exits and, if any is set, gates
    model: ModelFacts
    algorithm: Algorithm
    tokenise: Callable[[Sequence[str]], Tokens] = _as_they_are
    routes: tuple[Route, ...] = ()
    parse: Callable[[Record], EventBody] = _parse_any
    rng: random.Random = field(default_factory=random.Random)  # spreads probes over batches
    weighted: Mapping[float, Algorithm] = field(default_factory=dict)  # by a route's cost weight
    holdout: float = 0.0
    promise: float = 0.0  # share of texts that keep their label at a gate; 0: no gate

    def read(self, records: Sequence[Record]) -> tuple[list[Event], list[DeadLetter]]:
        """Parse and route: what can be used as events, what cannot as dead letters."""
        events: list[Event] = []
        letters: list[DeadLetter] = []
        known: dict[str, Route] = {}  # by topic
        for record in records:
            try:
                events.append(self._event(record, known))
            except InvalidEvent as error:
                letters.append(DeadLetter(record, error.stage, error.error_class, str(error)))
        return events, letters

    def decide(
        self,
        events: Sequence[Event],
        snapshots: Mapping[str, DomainSnapshot],
        peers: Peers = ALONE,
    ) -> list[Decision]:
        """Return how deep each event goes, from the counters of its domain."""
        members: dict[tuple[str, float | None, float | None], list[int]] = {}
        for i, event in enumerate(events):
            members.setdefault((event.domain, event.cost_weight, event.promise), []).append(i)
        unseen = DomainSnapshot.unseen(self.model.exits)
        exits, gates = [0] * len(events), [0] * len(events)
        for (domain, weight, promise), rows in members.items():
            algorithm = self.algorithm if weight is None else self.weighted[weight]
            snapshot = snapshots.get(domain, unseen)
            chosen = exits_of(algorithm, snapshot, len(rows), self.rng, peers)
            share = self.promise if promise is None else promise
            if not self.model.calibrated:  # its counters hold no scores
                share = 0.0
            gate = gate_of(snapshot, chosen.settled, share)
            for i, exit_ in zip(rows, chosen.exits, strict=True):
                exits[i] = exit_
                gates[i] = gate if exit_ == chosen.settled else 0
        return with_holdout(exits, gates, self.holdout, last=self.model.exits - 1, rng=self.rng)

    def prepare(self, records: Sequence[Record]) -> Prepared:
        """Parse, route, tokenise: what needs no counters, so it may run beside another batch."""
        laps = Laps()
        events, letters = self.read(records)
        laps.lap("parse")
        tokens = None
        with contextlib.suppress(Exception):  # a text may make the tokeniser raise anything
            tokens = self.tokenise([event.text for event in events])
        laps.lap("tokenise")
        return Prepared(tuple(events), tuple(letters), tokens, laps.done)

    def run(
        self,
        prepared: Prepared,
        current: Callable[[set[str]], Mapping[str, DomainSnapshot]],
        peers: Peers = ALONE,
    ) -> BatchOutcome:
        """Do the rest: decide with what `current` knows of the domains, infer."""
        laps, events = Laps(), prepared.events
        snapshots = current({event.domain for event in events})
        decisions = self.decide(events, snapshots, peers)
        laps.lap("decide")
        outcome = self.predict(events, decisions, prepared.tokens)
        laps.lap("infer")
        epochs = {domain: snapshot.epoch for domain, snapshot in snapshots.items()}
        letters = (*prepared.letters, *outcome.dead_letters)
        done = {**prepared.laps, **laps.done}
        return replace(outcome, dead_letters=letters, epochs=epochs, laps=done)

    def with_policy(self, settings: PolicySettings, routes: Sequence[Route]) -> Processor:
        """Return the processor with other settings of its policy, and other routes.

        A route's cost weight takes the place of the policy's where its texts are decided on. The
        counters are the same: they say what was seen, not what it costs.
        """
        if not self.model.calibrated and any(route.gate for route in routes):
            log.warning("gates of routes have no effect: see `offramp model calibrate`")
        weights = {route.cost_weight for route in routes if route.cost_weight is not None}
        made = partial(build, layers=self.model.layers, credits=self.model.calibrated)
        return replace(
            self,
            algorithm=made(settings),
            routes=tuple(routes),
            weighted={w: made(replace(settings, cost_weight=w)) for w in weights},
            holdout=settings.holdout,
            promise=settings.gate,
        )

    def predict(
        self, events: Sequence[Event], decisions: Sequence[Decision], tokens: Tokens = None
    ) -> BatchOutcome:
        """Run the model once over the mixed batch; see `Predictor.predict`."""
        predictor = Predictor(self.infer, self.tokenise, self.model)
        return predictor.predict(events, decisions, tokens)

    def _event(self, record: Record, known: dict[str, Route]) -> Event:
        if record.fault is not None:
            raise InvalidEvent("read", record.fault.error_class, record.fault.message)
        with blamed("parse"):
            body = self.parse(record)
        with blamed("route"):
            route = known.get(record.topic) or route_for(self.routes, record.topic)
            if route is None:
                raise InvalidEvent("route", "no-route", f"no route matches topic {record.topic}")
            known[record.topic] = route
            domain = route.domain_of(record, body)
        return Event(
            record=record,
            id=record.position if body.id is None else str(body.id),
            text=body.text,
            domain=domain,
            timestamp_ms=record.timestamp_ms if body.timestamp is None else body.timestamp,
            output=route.output,
            cost_weight=route.cost_weight,
            promise=route.gate,
        )
