"""The benchmark of other heads: what it gives them, and that they learn."""

import torch

from benchmarks.heads import head, mean_of_tokens, measure
from model.texts.data import LabelledTexts
from tests.support.tiny_model import write_tiny_model


def test_padding_is_no_part_of_a_mean():
    """The mean of a text's tokens does not change with the padding behind them."""
    torch.manual_seed(0)
    x, mask = torch.randn(2, 5, 3), torch.tensor([[1, 1, 0, 0, 0], [1, 1, 1, 1, 1]])
    expected = torch.stack([x[0, :2].mean(0), x[1].mean(0)])
    torch.testing.assert_close(mean_of_tokens(x, mask), expected)


def test_a_head_learns_what_can_be_learnt():
    """Of two classes that a line divides, a head of one hidden layer or two gets all right."""
    torch.manual_seed(0)
    x = torch.randn(20_000, 4)
    labels = (x[:, 0] > 0).long()
    for hidden in (1, 2):
        found = head(x, labels, hidden=hidden)(x).argmax(-1)
        assert (found == labels).float().mean() > 0.97


def test_the_report_has_every_layer_and_head(tmp_path):
    """Three layers with three kinds of heads each, and shares of texts as figures."""
    texts = LabelledTexts(("the film was good", "the film was bad") * 40, (1, 0) * 40)
    (table,) = measure(write_tiny_model(tmp_path), texts, texts).tables
    assert [row[0] for row in table.rows] == [1] * 3 + [2] * 3 + [3] * 3
    assert all(0 <= float(figure) <= 100 for row in table.rows for figure in row[2:])
