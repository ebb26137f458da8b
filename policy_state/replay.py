"""Exact replay of UEE-UCB, text by text, on a recorded matrix of exit labels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from policy_state.errors import InvalidCosts, InvalidMatrix

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

TRUTH_COLUMN: Final = "op_labels"
LABEL_MAX: Final = 127


@dataclass(frozen=True, slots=True)
class Replay:
    """What happened in each trial of a replay."""

    counts: NDArray[np.int64]  # (trials, exits): texts that stopped at each exit
    accuracy: NDArray[np.float64] | None  # (trials,): share of right answers; None without truth


def read_matrix(path: Path) -> tuple[NDArray[np.int8], NDArray[np.int8] | None]:
    """Return the labels (rows, exits) and the true labels (rows,), None where the file has none.

    The file is separated by tabs or commas. Its first line names the columns: 0, 1, .. one per
    exit, shallowest first, then `op_labels` if the truth is known. Labels are integers 0..127.

    Raises:
        InvalidMatrix: Unreadable, empty, ragged, or holding something else than labels; names line
            and column.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            header, *lines = file.read().splitlines() or [""]
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidMatrix(f"{path}: cannot be read: {error}") from error
    separator = "\t" if "\t" in header else ","
    names = header.split(separator)
    exits = len(names) - (names[-1] == TRUTH_COLUMN)
    for column, name in enumerate(names[:exits]):
        if name != str(column):
            raise InvalidMatrix(
                f"{path}: line 1, column {column + 1}: name {name!r}, expected '{column}'"
            )
    if not exits or not lines:
        raise InvalidMatrix(f"{path}: {exits} exits and {len(lines)} texts, expected 1 or more")
    table = np.array(
        [
            _labels(line.split(separator), len(names), f"{path}: line {number}")
            for number, line in enumerate(lines, start=2)
        ],
        dtype=np.int8,
    )
    return table[:, :exits], table[:, exits] if exits < len(names) else None


def replay_uee_ucb(
    labels: NDArray[np.int8],
    costs: Sequence[float],
    *,
    alpha: float = 1.0,
    trials: int = 20,
    truth: NDArray[np.int8] | None = None,
) -> Replay:
    """Return how often each exit is played when the texts arrive one by one.

    Trial i sees the rows in the order of `RandomState(i).permutation`, which is the order of the
    authors' `DataFrame.sample(frac=1, random_state=i)`. All trials advance together, one text each
    per step; the arithmetic is that of `uee_ucb.choose_exit`, in the same order.

    >>> replay_uee_ucb(np.array([[0, 1], [0, 1]]), (0.0, 0.5), trials=1).counts
    array([[0, 2]])
    """
    rows, exits = labels.shape
    if not rows:
        raise InvalidMatrix("a matrix without texts cannot be replayed")
    if len(costs) != exits:
        raise InvalidCosts(f"{len(costs)} costs for a matrix of {exits} exits")
    orders = np.stack([np.random.RandomState(i).permutation(rows) for i in range(trials)], axis=1)
    disagrees = (labels != labels[:, :1]).astype(np.float64)
    reach = np.tri(exits)  # row k: 1 for every exit that a text stopping at k computes
    first_cost, cost = costs[0], np.asarray(costs, dtype=np.float64)
    each_trial = np.arange(trials)
    # Counts in floating point: exact far beyond any file, and no conversion in the loop.
    observed = np.ones((trials, exits))  # the first text goes to the last exit, which sees all
    disagreed = disagrees[orders[0]]
    played = np.zeros((trials, exits), dtype=np.int64)
    played[:, -1] = 1
    right = np.zeros(trials, dtype=np.int64)
    if truth is not None:
        right += labels[orders[0], exits - 1] == truth[orders[0]]
    for texts in range(1, rows):
        bonus = np.sqrt(alpha * math.log(texts + 1) / observed)
        chosen = (disagreed / observed + first_cost - cost + bonus).argmax(axis=1)
        row = orders[texts]
        seen = reach[chosen]
        observed += seen
        disagreed += disagrees[row] * seen
        played[each_trial, chosen] += 1
        if truth is not None:
            right += labels[row, chosen] == truth[row]
    return Replay(counts=played, accuracy=None if truth is None else right / rows)


def _labels(cells: list[str], columns: int, place: str) -> list[int]:
    if len(cells) != columns:
        raise InvalidMatrix(f"{place}: {len(cells)} columns, the first line has {columns}")
    for column, cell in enumerate(cells, start=1):
        if not (cell.isascii() and cell.isdigit() and int(cell) <= LABEL_MAX):
            raise InvalidMatrix(
                f"{place}, column {column}: {cell[:40]!r}, expected a label 0..{LABEL_MAX}"
            )
    return [int(cell) for cell in cells]
