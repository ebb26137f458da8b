"""The model that comes with the package: complete, licensed, and as good as its card says."""

import re

import pytest

from consumer.settings.sections import PRETRAINED, ModelSettings
from model.calibration import read_calibration
from model.engine.engine import Engine
from model.engine.int8 import read_int8
from model.texts.data import read_labelled

MOST_MB = 40
LEAST_BY_LAYER_6 = 90.0
LEAST_AT_THE_END = 91.5


@pytest.fixture(scope="module")
def engine():
    return Engine(PRETRAINED)


@pytest.fixture(scope="module")
def card():
    return (PRETRAINED / "README.md").read_text(encoding="utf-8")


def stated(card, texts):
    """Return what the card says of every exit on some texts, in percent."""
    row = re.search(rf"\| {re.escape(texts)} \|[^|]*\|(.+)\|\n", card)
    assert row is not None
    return [float(cell) for cell in row.group(1).split("|")]


def test_it_is_complete_and_not_too_large(engine):
    """At most 40 MB, twelve layers, a calibration, and int8 ranges of this very model."""
    assert sum(path.stat().st_size for path in PRETRAINED.iterdir()) <= MOST_MB * 1e6
    assert engine.config.num_hidden_layers == 12
    assert read_calibration(PRETRAINED, exits=engine.config.exits) is not None
    least = ModelSettings().least_int8_agreement
    read_int8(
        PRETRAINED, engine.config, fingerprint=engine.fingerprint, least_agreement=least
    )  # raises otherwise


def test_it_tells_plain_praise_from_plain_blame(engine):
    """Every exit gets the plainest texts right."""
    texts = ["a wonderful film , moving and funny .", "a dull , stupid and boring mess ."]
    results = engine.run(texts, [engine.config.exits - 1] * 2)
    assert [set(result.labels) for result in results] == [{1}, {0}]


def test_depth_pays(engine, card):
    """By its card, deeper exits are better, and a layer in the middle is good already."""
    accuracy = stated(card, "SST-2 dev")
    by_layer = dict(zip(engine.config.exit_layers, accuracy, strict=True))
    assert max(by_layer[layer] for layer in by_layer if layer <= 6) >= LEAST_BY_LAYER_6
    assert accuracy[-1] >= LEAST_AT_THE_END


def test_its_card_tells_the_truth(engine, card, shared_dir):
    """The accuracy of every exit on SST-2 dev is the one the card states."""
    dev = read_labelled(shared_dir / "data" / "sst2" / "dev.tsv")
    results = engine.run(dev.texts, [engine.config.exits - 1] * len(dev.texts))
    for exit_, figure in enumerate(stated(card, "SST-2 dev")):
        right = sum(r.labels[exit_] == y for r, y in zip(results, dev.labels, strict=True))
        assert abs(100 * right / len(dev.texts) - figure) < 0.3  # two or three texts: rounding


def test_its_origin_is_named(card):
    """Card and NOTICE name the model that it comes from, and that model's licence."""
    notice = (PRETRAINED.parents[2] / "NOTICE").read_text(encoding="utf-8")
    for text in (card, notice):
        assert "e5-small-v2" in text
        assert "MIT" in text
