"""A model's calibration: how sure each exit may be, and what the step to the next is worth."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from model.errors import InvalidCheckpoint
from model.folder_files import CALIBRATION, read_object, shown
from model.labels import check_enough

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

_LEAST_TEMPERATURE, _MOST_TEMPERATURE = 0.05, 20
_UNPROVEN_DUELS = 30  # worth nothing, added to each step's own: a few lucky duels prove little
_BINS = 15  # of confidence, as is usual for the expected calibration error
_MOST_COUNT = 2**53
_CURE = "`offramp model calibrate` makes the file anew"
_LISTS: Final[dict[str, tuple[str, type[float], float, float]]] = {  # of the file
    "temperatures": ("exit", float, _LEAST_TEMPERATURE, _MOST_TEMPERATURE),
    "worth": ("step", float, 0, 1),
    "duels": ("step", int, 0, _MOST_COUNT),
    "ece_before": ("exit", float, 0, 1),
    "ece_after": ("exit", float, 0, 1),
}


@dataclass(frozen=True, slots=True)
class Calibration:
    """What labelled texts say of a model's exits, and of the steps from each exit to the next.

    A *duel* of a step is a text on which the two exits differ. The deeper exit wins it if it is
    right, and loses it if the shallower one is.
    """

    temperatures: tuple[float, ...]  # of each exit, which divide its logits
    worth: tuple[float, ...]  # of each step: what a duel gains, from 0 to 1
    texts: int
    duels: tuple[int, ...]  # of each step
    ece_before: tuple[float, ...]  # of each exit: expected calibration error at temperature 1
    ece_after: tuple[float, ...]

    def __str__(self) -> str:
        """Return one line about it."""
        temperatures = ", ".join(f"{value:g}" for value in self.temperatures)
        worth = ", ".join(f"{value:g}" for value in self.worth)
        return (
            f"temperatures {temperatures}; worth of the steps {worth or 'none'}; "
            f"from {self.texts:,} texts"
        )


def fit(logits: NDArray[np.floating[Any]], truth: Sequence[int]) -> Calibration:
    """Calibrate exits on labelled texts that training has not seen.

    The temperature of an exit makes the true labels most likely (Guo et al., arXiv 1706.04599). A
    step is worth max(0, (wins - losses) / (duels + 30)).

    Args:
        logits: of every exit, (texts, exits, classes).
        truth: the right class of each text.

    Raises:
        InvalidData: there are too few texts, or all have the same label.
    """
    check_enough(truth)
    right = np.asarray(truth)
    exits = list(np.moveaxis(np.asarray(logits, dtype=np.float64), 1, 0))
    temperatures = [_temperature(each, right) for each in exits]
    labels = logits.argmax(-1)  # (texts, exits)
    duels = (labels[:, 1:] != labels[:, :-1]).sum(0)
    gained = np.diff((labels == right[:, None]).sum(0))  # wins - losses: the other texts cancel out
    worth = np.maximum(0, gained / (duels + _UNPROVEN_DUELS))
    return Calibration(
        temperatures=tuple(temperatures),
        worth=tuple(round(float(value), 3) for value in worth),
        texts=len(truth),
        duels=tuple(map(int, duels)),
        ece_before=tuple(_calibration_error(_softmax(each), right) for each in exits),
        ece_after=tuple(
            _calibration_error(_softmax(each / temperature), right)
            for each, temperature in zip(exits, temperatures, strict=True)
        ),
    )


def write_calibration(folder: Path, calibration: Calibration) -> Path:
    """Save a calibration beside the model, whose fingerprint it changes."""
    path = folder / CALIBRATION
    path.write_text(json.dumps(asdict(calibration), indent=2) + "\n", encoding="utf-8")
    return path


def read_calibration(folder: Path, *, exits: int) -> Calibration | None:
    """Return the calibration in a model folder; None if there is none.

    Raises:
        InvalidCheckpoint: it is broken, or of a model with another number of exits.
    """
    path = folder / CALIBRATION
    if not os.path.lexists(path):
        return None
    try:
        content = read_object(path, error=InvalidCheckpoint)
    except InvalidCheckpoint as error:
        raise InvalidCheckpoint(f"{error}; {_CURE}") from error

    def wrong(name: str, expected: str) -> InvalidCheckpoint:
        return InvalidCheckpoint(
            f"{path}: {name} is {shown(content.get(name))}, expected {expected}; {_CURE}"
        )

    texts: Any = content.get("texts")
    if not _within(texts, int, 0, _MOST_COUNT):
        raise wrong("texts", "a whole number")
    found: dict[str, tuple[Any, ...]] = {}
    for name, (per, kind, least, most) in _LISTS.items():
        values: Any = content.get(name)
        count = exits - (per == "step")
        listed = isinstance(values, list) and len(values) == count
        if not listed or not all(_within(value, kind, least, most) for value in values):
            raise wrong(name, f"{count} numbers from {least} to {most}, one for each {per}")
        found[name] = tuple(map(kind, values))
    return Calibration(texts=texts, **found)


def _within(value: Any, kind: type[float], least: float, most: float) -> bool:  # noqa: ANN401  (JSON)
    allowed = (int,) if kind is int else (int, float)
    return type(value) in allowed and least <= value <= most


def _temperature(logits: NDArray[np.float64], right: NDArray[np.int64]) -> float:
    """Return what to divide logits, (texts, classes), by so that the labels are most likely.

    The loss is convex in 1/T, so the sign of its slope says on which side of T the best one is.
    """
    low, high = _LEAST_TEMPERATURE, float(_MOST_TEMPERATURE)
    of_right = logits[np.arange(len(right)), right].mean()
    for _ in range(40):
        middle = (low * high) ** 0.5
        if (_softmax(logits / middle) * logits).sum(-1).mean() > of_right:
            low = middle  # surer than right
        else:
            high = middle
    return float(round((low * high) ** 0.5, 3))


def _calibration_error(probabilities: NDArray[np.float64], right: NDArray[np.int64]) -> float:
    """Return the mean distance of confidence and accuracy, over bins of confidence."""
    confidence = probabilities.max(-1)
    hit = probabilities.argmax(-1) == right
    bins = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    apart = np.bincount(bins, weights=hit - confidence)
    return round(float(np.abs(apart).sum()) / len(right), 4)


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    odds: NDArray[np.float64] = np.exp(logits - logits.max(-1, keepdims=True))
    odds /= odds.sum(-1, keepdims=True)
    return odds
