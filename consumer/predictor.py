"""Runs the model on a mixed batch; the texts that it fails on become dead letters."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any, Protocol

from consumer.errors import ModelFailed
from consumer.events.record import BatchOutcome, DeadLetter, Event, Prediction
from policy_state.algorithms.gate import first_sure

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from consumer.decision import Decision

log = logging.getLogger("offramp.processor")

_PLAIN_TEXT = "good " * 512  # as long as a BERT reads: it needs as much memory as any other

Tokens = Any  # what a model's tokeniser returns, and its `infer` takes


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
class Predictor:
    """The model of a processor."""

    infer: Callable[..., Sequence[TextResult]]  # of tokens, exits and, if any is set, gates
    tokenise: Callable[[Sequence[str]], Tokens]
    model: ModelFacts

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


def _thousandths(scores: Sequence[float]) -> tuple[int, ...]:
    return tuple([round(1000 * score) for score in scores])
