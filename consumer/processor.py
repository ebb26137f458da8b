"""Parse, route, decide, infer: records in, predictions out. Pure given its inputs, no Kafka."""

from __future__ import annotations

import contextlib
import logging
import random
from dataclasses import dataclass, field, replace
from functools import partial
from math import isfinite
from typing import TYPE_CHECKING, Any, Protocol

from consumer.decision import gate_of, with_holdout
from consumer.errors import InvalidEvent, ModelFailed, blamed
from consumer.events.codec import EventBody, parse
from consumer.events.record import BatchOutcome, DeadLetter, Event, Prediction, Record
from consumer.routes.route import Route, route_for
from policy_state.algorithms.base import build
from policy_state.algorithms.gate import first_sure
from policy_state.algorithms.settings import PolicySettings
from policy_state.reports.domain import exit_of
from policy_state.store.values import DomainSnapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from consumer.decision import Decision
    from policy_state.algorithms.base import Algorithm
    from policy_state.stats import ExitStats


log = logging.getLogger("offramp.processor")

_PLAIN_TEXT = "good " * 512  # as long as a BERT reads: it needs as much memory as any other

Tokens = Any  # what a model's tokeniser returns, and its `infer` takes

_parse_any = partial(parse, form="auto")


def _as_they_are(texts: Sequence[str]) -> Sequence[str]:
    return texts


class TextResult(Protocol):
    """What the model returns for one text."""

    @property
    def labels(self) -> tuple[int, ...]:
        """Labels of exits 0..k."""

    @property
    def scores(self) -> tuple[float, ...]:
        """Probability of each of the labels."""

    @property
    def truncated(self) -> bool:
        """Whether the text was longer than the model reads."""

    @property
    def credits(self) -> tuple[int, ...]:
        """What the step to each exit is worth, thousandths; empty without a calibration."""


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What a prediction says about the model it came from."""

    fingerprint: str
    layers: tuple[int, ...]  # the layer of every exit
    labels: tuple[str, ...]  # the name of every class
    calibrated: bool = False

    @property
    def exits(self) -> int:
        """How many exits the model has."""
        return len(self.layers)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A micro-batch whose exits are yet to be chosen."""

    events: tuple[Event, ...]
    letters: tuple[DeadLetter, ...]
    tokens: Tokens  # of the events' texts; None: the tokeniser failed, `predict` finds out on what


@dataclass(frozen=True, slots=True)
class Peers:
    """What a worker knows of the others, so that all of them together explore enough, not more."""

    workers: int = 1  # that decide on about the same counters at the same time
    pool: ExitStats | None = None  # of all domains together


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
        peers: Peers = Peers(),
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
            chosen = self._chosen(algorithm, snapshot, len(rows), peers)
            share = self.promise if promise is None else promise
            if not self.model.calibrated:  # its counters hold no scores
                share = 0.0
            gated, gate = gate_of(algorithm, snapshot, share, pool=peers.pool)
            for i, choice in zip(rows, chosen, strict=True):
                exits[i] = choice
                gates[i] = gate if choice == gated else 0
        return with_holdout(exits, gates, self.holdout, last=self.model.exits - 1, rng=self.rng)

    def prepare(self, records: Sequence[Record]) -> Prepared:
        """Parse, route, tokenise: what needs no counters, so it may run beside another batch."""
        events, letters = self.read(records)
        tokens = None
        with contextlib.suppress(Exception):  # a text may make the tokeniser raise anything
            tokens = self.tokenise([event.text for event in events])
        return Prepared(tuple(events), tuple(letters), tokens)

    def run(
        self,
        prepared: Prepared,
        current: Callable[[set[str]], Mapping[str, DomainSnapshot]],
        peers: Peers = Peers(),
    ) -> BatchOutcome:
        """Do the rest: decide with what `current` knows of the domains, infer."""
        events = prepared.events
        snapshots = current({event.domain for event in events})
        outcome = self.predict(events, self.decide(events, snapshots, peers), prepared.tokens)
        epochs = {domain: snapshot.epoch for domain, snapshot in snapshots.items()}
        letters = (*prepared.letters, *outcome.dead_letters)
        return replace(outcome, dead_letters=letters, epochs=epochs)

    def _chosen(
        self, algorithm: Algorithm, snapshot: DomainSnapshot, count: int, peers: Peers
    ) -> tuple[int, ...]:
        """Return the exits of one domain's events: the pinned one, or what the algorithm says."""
        if snapshot.pin is not None or snapshot.frozen:  # frozen: nothing would be learnt
            return (exit_of(snapshot, algorithm, pool=peers.pool),) * count
        return algorithm.decide(
            snapshot.stats, count, rng=self.rng, workers=peers.workers, pool=peers.pool
        )

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
        """Run the model once over the mixed batch.

        If that fails, halves are tried until the texts are found that it fails on: these become
        dead letters.

        Raises:
            ModelFailed: it fails on a plain text too, so it is not the texts that are to blame.
        """
        try:
            return BatchOutcome(tuple(self._run(events, decisions, tokens)), ())
        except Exception as error:  # noqa: BLE001  (a text may make the model raise anything)
            log.warning("model failed events=%d error=%r", len(events), error)
            outcome = self._bisect(events, decisions, error)
            if outcome.dead_letters:
                self._check_model()
            return outcome

    def _check_model(self) -> None:
        """Raise where the model, or the machine, fails on any text, and not on some."""
        try:
            self._answers(self.tokenise([_PLAIN_TEXT]), [self.model.exits - 1])
        except Exception as error:
            message = f"the model fails on a plain text too: {type(error).__name__}: {error}"
            raise ModelFailed(message) from error

    def _bisect(
        self, events: Sequence[Event], decisions: Sequence[Decision], error: Exception
    ) -> BatchOutcome:
        if len(events) == 1:
            message = f"the model failed on this text: {type(error).__name__}: {error}"
            return BatchOutcome(
                (), (DeadLetter(events[0].record, "infer", "model-failed", message),)
            )
        predictions: list[Prediction] = []
        letters: list[DeadLetter] = []
        middle = len(events) // 2
        for half in (slice(None, middle), slice(middle, None)):
            try:
                predictions += self._run(events[half], decisions[half])
            except Exception as again:  # noqa: BLE001  (a text may make the model raise anything)
                found = self._bisect(events[half], decisions[half], again)
                predictions += found.predictions
                letters += found.dead_letters
        return BatchOutcome(tuple(predictions), tuple(letters))

    def _run(
        self, events: Sequence[Event], decisions: Sequence[Decision], tokens: Tokens = None
    ) -> list[Prediction]:
        if tokens is None:
            tokens = self.tokenise([event.text for event in events])
        results = self._answers(tokens, [d.exit for d in decisions], [d.applied for d in decisions])
        each = zip(events, decisions, results, strict=True)
        return [self._prediction(event, decision, result) for event, decision, result in each]

    def _prediction(self, event: Event, decision: Decision, result: TextResult) -> Prediction:
        exit_ = len(result.labels) - 1
        scores = _thousandths(result.scores) if result.credits else ()
        chosen = decision.chosen
        if chosen is not None:
            chosen = first_sure(scores, chosen, decision.gate)
        elif exit_ < decision.exit:
            chosen = decision.exit
        return Prediction(
            event=event,
            label=result.labels[-1],
            label_name=self.model.labels[result.labels[-1]],
            score=result.scores[-1],
            exit=exit_,
            layer=self.model.layers[exit_],
            exit_labels=result.labels,
            truncated=result.truncated,
            model=self.model.fingerprint,
            exit_scores=scores,
            exit_credits=result.credits,
            chosen_exit=chosen,
            gate=decision.applied or None,
        )

    def _answers(
        self, tokens: Tokens, exits: Sequence[int], gates: Sequence[int] = ()
    ) -> Sequence[TextResult]:
        """Return what the model says; scores that are no numbers come with labels by chance."""
        results = self.infer(tokens, exits, gates) if any(gates) else self.infer(tokens, exits)
        if not all(isfinite(score) for result in results for score in result.scores):
            raise ArithmeticError("a score is not a number")
        return results

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


def _thousandths(scores: Sequence[float]) -> tuple[int, ...]:
    return tuple([round(1000 * score) for score in scores])
