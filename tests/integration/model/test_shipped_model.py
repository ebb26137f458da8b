"""The model that comes with the package: small, multi-exit, and as good as its card says."""

import re

import pytest

from consumer.settings.sections import PRETRAINED
from model.engine.engine import Engine
from model.texts.data import read_labelled


@pytest.fixture(scope="module")
def engine():
    return Engine(PRETRAINED)


def test_it_is_small_and_has_its_card(engine):
    """At most 8 MB of weights, six layers or more, exits at three layers or more, a card."""
    assert (PRETRAINED / "model.safetensors").stat().st_size <= 8_000_000
    assert engine.config.num_hidden_layers >= 6
    assert engine.config.exits >= 3
    assert "SST-2 dev" in (PRETRAINED / "README.md").read_text()


def test_it_tells_plain_praise_from_plain_blame(engine):
    """Every exit gets the plainest texts right."""
    texts = ["a wonderful film , moving and funny .", "a dull , stupid and boring mess ."]
    results = engine.run(texts, [engine.config.exits - 1] * 2)
    assert [set(result.labels) for result in results] == [{1}, {0}]


def test_its_card_tells_the_truth(engine, shared_dir):
    """The accuracy of every exit on SST-2 dev is the one the card states."""
    card = (PRETRAINED / "README.md").read_text()
    row = re.search(r"\| SST-2 dev \|[^|]*\|(.+)\|\n", card)
    assert row is not None
    stated = [float(cell) for cell in row.group(1).split("|")]
    dev = read_labelled(shared_dir / "data" / "sst2" / "dev.tsv")
    results = engine.run(dev.texts, [engine.config.exits - 1] * len(dev.texts))
    for exit_, figure in enumerate(stated):
        right = sum(r.labels[exit_] == y for r, y in zip(results, dev.labels, strict=True))
        assert abs(100 * right / len(dev.texts) - figure) < 0.3  # two or three texts: rounding
