"""Exit matrices: the label of every exit on every text, read from a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from policy_state.errors import InvalidInput
from policy_state.wording import counted

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

TRUTH_COLUMN: Final = "op_labels"
LABEL_MAX: Final = 127
_LABEL_DIGITS: Final = 3


def read_matrix(path: Path) -> tuple[NDArray[np.int8], NDArray[np.int8] | None]:
    """Return the labels (rows, exits) and the true labels (rows,), None where the file has none.

    The file is separated by tabs or commas. Its first line names the columns: 0, 1, .. one per
    exit, shallowest first, then `op_labels` if the truth is known. Labels are integers 0..127.

    Raises:
        InvalidInput: Unreadable, empty, ragged, or holding something else than labels; names line
            and column.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            header, *lines = file.read().splitlines() or [""]
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path}: cannot be read: {error}") from error
    separator = "\t" if "\t" in header else ","
    names = header.split(separator)
    exits = len(names) - (names[-1] == TRUTH_COLUMN)
    for column, name in enumerate(names[:exits]):
        if name != str(column):
            raise InvalidInput(
                f"{path}: line 1, column {column + 1}: name {name!r}, expected '{column}'"
            )
    if not exits or not lines:
        raise InvalidInput(
            f"{path}: {counted(exits, 'exit')} and {counted(len(lines), 'text')}, "
            f"expected 1 or more"
        )
    table = np.array(
        [
            _labels(line.split(separator), len(names), f"{path}: line {number}")
            for number, line in enumerate(lines, start=2)
        ],
        dtype=np.int8,
    )
    return table[:, :exits], table[:, exits] if exits < len(names) else None


def _labels(cells: list[str], columns: int, line: str) -> list[int]:
    if len(cells) != columns:
        raise InvalidInput(f"{line}: {len(cells)} columns, the first line has {columns}")
    for column, cell in enumerate(cells, start=1):
        # Python makes no number of thousands of digits, and says so in an error of its own.
        digits = cell.isascii() and cell.isdigit() and len(cell) <= _LABEL_DIGITS
        if not (digits and int(cell) <= LABEL_MAX):
            raise InvalidInput(
                f"{line}, column {column}: {cell[:40]!r}, expected a label 0..{LABEL_MAX}"
            )
    return [int(cell) for cell in cells]
