"""How fast an engine is: every exit, two sizes of batch, and texts as long as asked for."""

import pytest

from model.engine.engine import Engine
from model.engine.speed import generated_texts, measure_speed
from model.errors import InvalidData
from tests.support.tiny_model import write_tiny_model


@pytest.fixture(scope="module")
def engine(tmp_path_factory) -> Engine:
    """An engine with three exits that reads 24 tokens."""
    return Engine(write_tiny_model(tmp_path_factory.mktemp("speed")), device="cpu")


@pytest.mark.parametrize("tokens", [6, 12, 20])
def test_generated_texts_have_about_the_tokens_asked_for(engine: Engine, tokens: int) -> None:
    """Whatever the vocabulary does to the words; never none."""
    lengths = engine.tokenise(generated_texts(engine, 3, tokens=tokens)).lengths
    assert lengths == pytest.approx([tokens] * 3, abs=3)
    assert all(engine.tokenise(generated_texts(engine, 1, tokens=1)).lengths > 2)


def test_every_exit_is_measured_in_two_sizes(engine: Engine) -> None:
    """All texts and an eighth of them, each with time of the clock and of all cores."""
    found = measure_speed(engine, generated_texts(engine, 32, tokens=12), repeat=2)
    assert (found.texts, found.few_texts) == (32, 4)
    assert [each.layer for each in found.exits] == [1, 2, 4]
    for spent in (found.tokenised, *(s for e in found.exits for s in (e.many, e.few))):
        assert spent.wall_s > 0
        assert spent.cpu_s >= 0
    with pytest.raises(InvalidData, match="no texts to measure"):
        measure_speed(engine, [], repeat=1)
