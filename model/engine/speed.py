"""How fast an engine is on the machine at hand: tokenising, and texts that stop at each exit."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from model.errors import InvalidData

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from model.engine.engine import Engine

_FEW_SHARE: Final = 8  # an eighth of the texts shows what a batch costs whatever its size
_WORDS: Final = ("the", "film", "was", "long", "and", "not", "very", "good")


@dataclass(frozen=True, slots=True)
class Spent:
    """The time that one batch took: of the clock, and of all cores together."""

    wall_s: float
    cpu_s: float


@dataclass(frozen=True, slots=True)
class ExitSpeed:
    """How long batches took whose texts all stop at one exit; they were tokenised before."""

    layer: int
    many: Spent  # a batch of all texts
    few: Spent  # a batch of `Speed.few_texts`


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast an engine is."""

    texts: int
    few_texts: int
    tokens_per_text: float
    tokenised: Spent  # all texts
    exits: tuple[ExitSpeed, ...]


def generated_texts(engine: Engine, texts: int, *, tokens: int) -> list[str]:
    """Return texts that have about as many tokens as asked for."""

    def made(words: int) -> str:
        return " ".join(_WORDS[i % len(_WORDS)] for i in range(words))

    none, some = (len(row) for row in engine.tokenise([made(0), made(len(_WORDS))]).ids)
    words = round(len(_WORDS) * (tokens - none) / max(1, some - none))
    return [made(max(1, words))] * texts


def measure_speed(engine: Engine, texts: Sequence[str], *, repeat: int) -> Speed:
    """Measure an engine on texts; each figure is the median of `repeat` runs.

    Raises:
        InvalidData: no texts.
    """
    if not texts:
        raise InvalidData("there are no texts to measure the speed with")
    tokens = engine.tokenise(texts)
    few = texts[: max(1, len(texts) // _FEW_SHARE)]
    few_tokens = engine.tokenise(few)
    exits = []
    for exit_, layer in enumerate(engine.config.exit_layers):
        spent = []
        for some in (tokens, few_tokens):
            asked = [exit_] * len(some)
            engine.run_tokens(some, asked)  # the first run of each size builds its kernels
            spent.append(
                _median(lambda some=some, asked=asked: engine.run_tokens(some, asked), repeat)  # type: ignore[misc]
            )
        exits.append(ExitSpeed(layer, *spent))
    return Speed(
        texts=len(texts),
        few_texts=len(few),
        tokens_per_text=tokens.count / len(texts),
        tokenised=_median(lambda: engine.tokenise(texts), repeat),
        exits=tuple(exits),
    )


def _median(run: Callable[[], object], repeat: int) -> Spent:
    laps = []
    for _ in range(repeat):
        wall, cpu = time.perf_counter(), time.process_time()
        run()
        laps.append((time.perf_counter() - wall, time.process_time() - cpu))
    return Spent(*(statistics.median(column) for column in zip(*laps, strict=True)))
