"""A processor with a made-up model of three exits, and records for it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from consumer.events.record import Record
from consumer.predictor import ModelFacts
from consumer.processor import Processor
from consumer.routes.route import Route
from policy_state.algorithms.uee_ucb import UeeUcb

LAYERS = (1, 3, 12)


@dataclass(frozen=True)
class Result:
    """What the model returns for a text: labels and scores of exits 0..k."""

    labels: tuple[int, ...]
    scores: tuple[float, ...]
    truncated: bool
    credits: tuple[int, ...] = ()


def infer(texts: Sequence[str], exits: Sequence[int]) -> list[Result]:
    """Exit j says the parity of the text's length plus j."""
    return [
        Result(tuple((len(t) + j) % 2 for j in range(k + 1)), (0.5,) * (k + 1), len(t) > 20)
        for t, k in zip(texts, exits, strict=True)
    ]


def infer_all_but_poison(texts: Sequence[str], exits: Sequence[int]) -> list[Result]:
    """Fails on the whole batch where one text is poison, as a model does."""
    if any("poison" in text for text in texts):
        raise ValueError("cannot take this")
    return infer(texts, exits)


def make_processor(infer: Callable[..., Any] = infer) -> Processor:
    """Return a processor of `texts.DOMAIN` that runs this model."""
    return Processor(
        infer=infer,
        model=ModelFacts("f1", LAYERS, ("negative", "positive")),
        algorithm=UeeUcb(costs=(0.1, 0.2, 1.0)),
        routes=(Route(topics=r"texts\.(?P<domain>.+)"),),
    )


def records(*values: bytes, topic: str = "texts.films") -> list[Record]:
    """Return a record of each value, one after the other."""
    return [Record(topic, 0, i, 10 + i, None, value) for i, value in enumerate(values)]
