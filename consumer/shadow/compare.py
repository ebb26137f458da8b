"""Runs a second model on texts that the live one has answered, and counts where they differ."""

from __future__ import annotations

import time
import zlib
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from consumer.decision import Decision
from consumer.errors import InvalidSettings
from consumer.events.record import Event
from consumer.predictor import ModelFacts, Predictor
from policy_state.shadowed import ComparedModel, ShadowCounts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from consumer.events.predictions import ReadPrediction
    from consumer.events.record import Record
    from consumer.opening import Inference

_SHARES: Final = 1 << 32


class Answered(NamedTuple):
    """A text, and what the live model answered."""

    record: Record  # of the input
    text: str
    answer: ReadPrediction


def is_sampled(record: Record, topic_id: str, share: float) -> bool:
    """Return whether a prediction is one of the share: the same ones, whichever model compares.

    >>> from consumer.events.record import Record
    >>> some = [Record("out", 0, offset, 0, None, b"") for offset in range(10_000)]
    >>> sum(is_sampled(record, "id", 0.05) for record in some)
    517
    """
    place = f"{topic_id}/{record.partition}/{record.offset}"
    return zlib.crc32(place.encode()) < share * _SHARES


@dataclass(frozen=True, slots=True)
class Compared:
    """What a batch of texts adds."""

    counts: Mapping[ComparedModel, Mapping[str, ShadowCounts]]  # by live model and domain
    texts: int
    same: int  # texts to which the new model's last exit gives the live answer
    failed: int  # texts that the new model fails on


class Comparison:
    """The new model, and how its labels are called by the live one."""

    def __init__(self, engine: Inference, names: Mapping[str, str]) -> None:
        """Take the model to run.

        Args:
            engine: The new model.
            names: By label of the live model, that of the new one; by default they are the same.

        Raises:
            InvalidSettings: The new model has no such label.
        """
        config = engine.config
        self.model = ComparedModel(
            engine.fingerprint, config.exit_layers, len(config.labels), engine.calibrated
        )
        facts = ModelFacts(
            engine.fingerprint, config.exit_layers, config.labels, calibrated=engine.calibrated
        )
        self._predictor = Predictor(engine.run_tokens, engine.tokenise, facts)
        self._labels = {name: label for label, name in enumerate(config.labels)}
        self._names = names
        for name in names.values():
            if name not in self._labels:
                raise InvalidSettings(
                    f"--label: the new model has no label {name!r}, only {self._known}"
                )

    def compare(self, texts: Sequence[Answered], models: Mapping[str, ComparedModel]) -> Compared:
        """Return what some texts add; `models` are live ones, by fingerprint.

        Raises:
            InvalidSettings: The live model gave a label that the new one does not have.
            ModelFailed: The new model fails on every text.
        """
        if not texts:
            return Compared({}, 0, 0, 0)
        answers = [self._label(each.answer.label_name) for each in texts]
        events = [
            Event(each.record, str(i), each.text, each.answer.domain, 0, "")
            for i, each in enumerate(texts)
        ]
        last = self.model.exits - 1
        begun_s = time.perf_counter()
        outcome = self._predictor.predict(events, [Decision(last)] * len(events))
        micros = 1e6 * (time.perf_counter() - begun_s) / len(events)
        groups: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
        found = {int(each.event.id): each for each in outcome.predictions}
        for i in found:
            groups[texts[i].answer.model, texts[i].answer.domain].append(i)
        counts: defaultdict[ComparedModel, dict[str, ShadowCounts]] = defaultdict(dict)
        for (fingerprint, domain), rows in groups.items():
            live = models[fingerprint]
            counts[live][domain] = ShadowCounts.of(
                [found[i] for i in rows],
                [(answers[i], len(texts[i].answer.exit_labels) - 1) for i in rows],
                exits=self.model.exits,
                live_exits=live.exits,
                micros=round(micros * len(rows)),
            )
        same = sum(each.exit_labels[-1] == answers[i] for i, each in found.items())
        return Compared(counts, len(found), same, len(outcome.dead_letters))

    @property
    def _known(self) -> str:
        return ", ".join(self._labels)

    def _label(self, name: str | None) -> int:
        """Return the class of the new model that an answer of the live one stands for."""
        label = self._labels.get(self._names.get(name or "", name or ""))
        if label is None:
            raise InvalidSettings(
                f"the live model answers {name!r}, which is no label of the new one, that has "
                f"{self._known}; say which of these stands for it: --label {name}=NAME"
            )
        return label
