"""What exits are worth, against the definitions written out one text at a time."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.evaluation import report

MATRICES = st.integers(1, 5).flatmap(
    lambda exits: st.lists(
        st.tuples(st.lists(st.integers(0, 2), min_size=exits, max_size=exits), st.integers(0, 2)),
        min_size=1,
        max_size=30,
    )
)


@given(MATRICES)
def test_report_follows_the_definitions(rows):
    """Accuracy, balance, disagreement and SD violations are those of a plain count."""
    labels = [said for said, _ in rows]
    truth = [right for _, right in rows]
    got = report(np.array(labels), truth)
    exits = range(len(labels[0]))
    assert got.texts == len(rows)
    for j in exits:
        right = [said[j] == y for said, y in rows]
        assert got.accuracy[j] == pytest.approx(sum(right) / len(rows))
        assert got.disagreement[j] == pytest.approx(sum(s[j] != s[0] for s in labels) / len(rows))
        shares = [
            sum(r for r, y in zip(right, truth, strict=True) if y == c) / truth.count(c)
            for c in set(truth)
        ]
        assert got.balanced_accuracy[j] == pytest.approx(sum(shares) / len(shares))
    violated = [
        any(s[j] == y and s[k] != y for j in exits for k in exits if k > j) for s, y in rows
    ]
    assert got.sd_violations == pytest.approx(sum(violated) / len(rows))


def test_majority_does_not_fool_balance():
    """An exit that always says the common class is at one half in balanced accuracy."""
    got = report(np.ones((10, 1), dtype=int), [1] * 9 + [0])
    assert got.accuracy == (0.9,)
    assert got.balanced_accuracy == (0.5,)
    assert got.constant_exits == (0,)
