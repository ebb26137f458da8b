"""What tests of the command line train on."""

import pytest


@pytest.fixture
def data(tmp_path):
    """A labelled file in which one word decides."""
    rows = [f"the film was {('bad', 'good')[i % 2]} !\t{i % 2}" for i in range(96)]
    path = tmp_path / "toy" / "train.tsv"
    path.parent.mkdir()
    path.write_text("text\tlabel\n" + "\n".join(rows) + "\n")
    return path
