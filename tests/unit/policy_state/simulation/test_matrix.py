"""Exit matrices in files: what is read, and what is refused with its place."""

from pathlib import Path

import numpy as np
import pytest

from policy_state.errors import InvalidInput
from policy_state.simulation.matrix import read_matrix


def test_matrices_are_read_with_tabs_or_commas(tmp_path: Path) -> None:
    """Both separators, both line ends, with and without the truth."""
    path = tmp_path / "matrix"
    path.write_bytes(b"0\t1\top_labels\r\n1\t0\t1\r\n2\t2\t0\r\n")
    labels, truth = read_matrix(path)
    assert labels.tolist() == [[1, 0], [2, 2]]
    assert labels.dtype == np.int8
    assert truth is not None
    assert truth.tolist() == [1, 0]
    path.write_text("0,1\n1,0")
    labels, truth = read_matrix(path)
    assert (labels.tolist(), truth) == ([[1, 0]], None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "line 1, column 1: name '', expected '0'"),
        (b"0,1\n", "2 exits and 0 texts"),
        (b"op_labels\n1", "0 exits and 1 text"),
        (b"0,2\n1,1", "line 1, column 2: name '2', expected '1'"),
        (b"0,1\n1,1\n1", "line 3: 1 columns, the first line has 2"),
        (b"0,1\n1,1\n\n", "line 3: 1 columns"),
        (b"0,1\n1,x", "line 2, column 2: 'x', expected a label 0..127"),
        (b"0,1\n-1,1", "line 2, column 1: '-1'"),
        (b"0,1\n1,128", "line 2, column 2: '128'"),
        (b"0,1\n1," + b"9" * 5000, "line 2, column 2: '9999"),
        (b"0,1\n1,\xff", "cannot be read"),
    ],
)
def test_a_broken_matrix_is_named_by_line_and_column(
    tmp_path: Path, text: bytes, message: str
) -> None:
    """Whatever is wrong with a file is said with its place."""
    path = tmp_path / "matrix.csv"
    path.write_bytes(text)
    with pytest.raises(InvalidInput, match=f"matrix.csv: {message}"):
        read_matrix(path)


def test_a_missing_matrix_is_named(tmp_path: Path) -> None:
    """A path without a file raises the package's own error."""
    with pytest.raises(InvalidInput, match=r"none\.csv: cannot be read"):
        read_matrix(tmp_path / "none.csv")
