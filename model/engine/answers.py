"""What exits answer: from logits on the device to the labels, scores and credits of each text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from model.calibration import Calibration
    from model.engine.packing import Packed
    from model.tokeniser import Tokens


class TextResult(NamedTuple):
    """What one text's exits said: class and its probability for exits 0..k, shallowest first.

    If the model is calibrated, so are the scores, and `credits` has what the step to each exit is
    worth on this text, in thousandths. It is 0 for exit 0, and where the label does not change.
    """

    labels: tuple[int, ...]
    scores: tuple[float, ...]
    tokens: int
    truncated: bool
    credits: tuple[int, ...] = ()


NOTHING = TextResult((), (), 0, truncated=False)


@dataclass(frozen=True, slots=True)
class Scales:
    """A calibration on the device."""

    temperatures: Tensor  # (exits, 1, 1)
    worth: Tensor  # (exits, 1), of the step to each exit; 0 for exit 0

    @classmethod
    def of(cls, calibration: Calibration, device: torch.device) -> Scales:
        """Place a calibration on a device."""
        temperatures = torch.tensor(calibration.temperatures)[:, None, None]
        worth = torch.tensor((0.0, *calibration.worth))[:, None]
        return cls(temperatures.to(device), worth.to(device))


def answers_of(logits: Tensor, scales: Scales | None) -> tuple[Tensor, ...]:
    """Return scores, labels and, of a calibrated model, credits: each fp32, (exits, texts).

    The credit of a step that changes the label is half of what the step is worth in general and
    half of what this text's probabilities say: how much likelier exit j holds its own label than
    that of exit j-1.

    Args:
        logits: (exits, texts, classes), from exit 0 on.
        scales: of the model, if it is calibrated.
    """
    if scales is None:
        scores, labels = logits.softmax(-1).max(-1)
        return scores, labels.float()
    exits, labels = len(logits), logits.argmax(-1)
    before = torch.cat((labels[:1], labels[:-1]))
    probabilities = (logits / scales.temperatures[:exits]).softmax(-1)
    both = probabilities.gather(-1, torch.stack((labels, before), -1))  # (exits, texts, 2)
    scores, overruled = both.unbind(-1)
    credit = (500 * (scales.worth[:exits] + scores - overruled)).round()
    return scores, labels.float(), credit * (labels != before)


def results_of(
    batch: Packed, answers: NDArray[np.float32], tokens: Tokens, rows: NDArray[np.int64]
) -> Iterable[TextResult]:
    """Take the answers of a batch apart, in its order.

    Args:
        batch: what ran.
        answers: all that `answers_of` returned for the blocks of the batch, flat.
        tokens: of all texts.
        rows: which of them ran.
    """
    labels: list[tuple[int, ...]] = []
    scores: list[tuple[float, ...]] = []
    credited: list[tuple[int, ...]] = []
    runs = iter(batch.runs)
    kinds = len(answers) // sum((exit_ + 1) * (end - first) for exit_, first, end in batch.blocks)
    at = text = 0
    for exit_, first, end in batch.blocks:
        size = kinds * (exit_ + 1) * (end - first)
        block = answers[at : at + size].reshape(kinds, exit_ + 1, -1)
        at += size
        while text < end:
            run_exit, _, run_end = next(runs)
            ours = block[:, : run_exit + 1, text - first : run_end - first]
            scores += zip(*ours[0].tolist(), strict=True)
            labels += zip(*ours[1].astype(int).tolist(), strict=True)
            for said in ours[2:]:
                credited += zip(*said.astype(int).tolist(), strict=True)
            text = run_end
    truncated = [tokens.truncated[i] for i in rows.tolist()]
    columns = (labels, scores, tokens.lengths[rows].tolist(), truncated)
    return map(TextResult, *columns, credited) if credited else map(TextResult, *columns)
