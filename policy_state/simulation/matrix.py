"""Exit matrices: what every exit says of every text, read from a file."""

from __future__ import annotations

from itertools import chain, zip_longest
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from policy_state.counting import THOUSAND
from policy_state.errors import InvalidInput
from policy_state.wording import counted

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

TRUTH_COLUMN: Final = "op_labels"
LABEL_MAX: Final = 127
_DIGITS: Final = 4  # of any cell at most


class Matrix(NamedTuple):
    """What a file holds. Credits and scores are there for calibrated models, in thousandths."""

    labels: NDArray[np.int8]  # (rows, exits)
    truth: NDArray[np.int8] | None = None  # (rows,)
    credits: NDArray[np.int16] | None = None  # (rows, exits): what the step to each exit is worth
    scores: NDArray[np.int16] | None = None  # (rows, exits): of the label of each exit


def read_matrix(path: Path) -> Matrix:
    """Return the labels, and what else the file holds of the truth, credits and scores.

    The file is separated by tabs or commas. Its first line names the columns: 0, 1, .. one per
    exit, shallowest first, then `op_labels` if the truth is known, then c0, c1, .. if there are
    credits, then s0, s1, .. if there are scores. Labels are integers 0..127, credits and scores
    0..1000.

    Raises:
        InvalidInput: Unreadable, empty, ragged, or holding something else than these; names line
            and column.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            header, *lines = file.read().splitlines() or [""]
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path}: cannot be read: {error}") from error
    separator = "\t" if "\t" in header else ","
    names = header.split(separator)
    exits = sum(name != TRUTH_COLUMN and not name.startswith(("c", "s")) for name in names)
    parts = {
        "labels": [str(j) for j in range(exits)],
        "truth": [TRUTH_COLUMN] * (TRUTH_COLUMN in names),
        "credits": [f"c{j}" for j in range(exits)] * any(name.startswith("c") for name in names),
        "scores": [f"s{j}" for j in range(exits)] * any(name.startswith("s") for name in names),
    }
    expected = list(chain.from_iterable(parts.values()))
    for column, (name, right) in enumerate(zip_longest(names, expected), start=1):
        if name != right:
            wanted = "no such column" if right is None else repr(right)
            raise InvalidInput(f"{path}: line 1, column {column}: name {name!r}, expected {wanted}")
    if not exits or not lines:
        raise InvalidInput(
            f"{path}: {counted(exits, 'exit')} and {counted(len(lines), 'text')}, "
            f"expected 1 or more"
        )
    labelled = len(parts["labels"] + parts["truth"])
    most = [LABEL_MAX] * labelled + [THOUSAND] * (len(names) - labelled)
    table = np.array(
        [
            _numbers(line.split(separator), most, f"{path}: line {number}")
            for number, line in enumerate(lines, start=2)
        ],
        dtype=np.int16,
    )
    labels, thousandths = table[:, :labelled].astype(np.int8), table[:, labelled:]
    return Matrix(
        labels[:, :exits],
        labels[:, exits] if parts["truth"] else None,
        thousandths[:, :exits] if parts["credits"] else None,
        thousandths[:, -exits:] if parts["scores"] else None,
    )


def _numbers(cells: list[str], most: list[int], line: str) -> list[int]:
    """Return the cells of a line, each checked against the most that its column may hold."""
    if len(cells) != len(most):
        raise InvalidInput(
            f"{line}: {counted(len(cells), 'column')}, the first line has {len(most)}"
        )
    for column, (cell, limit) in enumerate(zip(cells, most, strict=True), start=1):
        # Python makes no number of thousands of digits, and says so in its own error.
        digits = cell.isascii() and cell.isdigit() and len(cell) <= _DIGITS
        if not (digits and int(cell) <= limit):
            what = "a label" if limit == LABEL_MAX else "thousandths"
            raise InvalidInput(
                f"{line}, column {column}: {cell[:40]!r}, expected {what} 0..{limit}"
            )
    return [int(cell) for cell in cells]
