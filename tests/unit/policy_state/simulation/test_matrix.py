"""Exit matrices in files: what is read, and what is refused with its place."""

from pathlib import Path

import numpy as np
import pytest

from model.texts.data import write_matrix
from policy_state.errors import InvalidInput
from policy_state.simulation.matrix import read_matrix


def test_matrices_are_read_with_tabs_or_commas(tmp_path: Path) -> None:
    """Both separators, both line ends, with and without the truth."""
    path = tmp_path / "matrix"
    path.write_bytes(b"0\t1\top_labels\r\n1\t0\t1\r\n2\t2\t0\r\n")
    labels, truth, *_ = read_matrix(path)
    assert labels.tolist() == [[1, 0], [2, 2]]
    assert labels.dtype == np.int8
    assert truth is not None
    assert truth.tolist() == [1, 0]
    path.write_text("0,1\n1,0")
    labels, truth, *_ = read_matrix(path)
    assert (labels.tolist(), truth) == ([[1, 0]], None)


def test_credits_and_scores_follow_the_labels(tmp_path: Path) -> None:
    """What is written of a calibrated model is read again, with and without the truth."""
    path = tmp_path / "matrix.tsv"
    rows, credits, scores = [(0, 1), (1, 1)], [(0, 300), (0, 0)], [(510, 1000), (700, 900)]
    for truth in (None, [1, 0]):
        with path.open("w") as file:
            write_matrix(file, rows, truth, credits=credits, scores=scores)
        found = read_matrix(path)
        assert found.labels.tolist() == [[0, 1], [1, 1]]
        assert found.labels.dtype == np.int8
        assert (found.truth is None) == (truth is None)
        assert found.truth is None or found.truth.tolist() == truth
        assert found.credits is not None
        assert found.credits.tolist() == [[0, 300], [0, 0]]
        assert found.scores is not None
        assert found.scores.tolist() == [[510, 1000], [700, 900]]
    with path.open("w") as file:
        write_matrix(file, rows, None, scores=scores)
    only = read_matrix(path)
    assert only.credits is None
    assert only.scores is not None
    assert only.scores.tolist() == [[510, 1000], [700, 900]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "line 1, column 1: name '', expected '0'"),
        (b"0,1\n", "2 exits and 0 texts"),
        (b"op_labels\n1", "0 exits and 1 text"),
        (b"0,2\n1,1", "line 1, column 2: name '2', expected '1'"),
        (b"0,1,c0\n1,1,0", "line 1, column 4: name None, expected 'c1'"),
        (b"0,1,c0,c1,op_labels\n1,1,0,0,1", "line 1, column 3: name 'c0', expected 'op_labels'"),
        (b"0,c0,c1\n1,0,0", "line 1, column 3: name 'c1', expected no such column"),
        (b"0,c0\n1,1001", "line 2, column 2: '1001', expected thousandths 0..1000"),
        (b"0,1\n1,1\n1", "line 3: 1 column, the first line has 2"),
        (b"0,1\n1,1\n\n", "line 3: 1 column"),
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
