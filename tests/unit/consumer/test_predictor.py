"""What becomes of a batch in the model: predictions, and dead letters of texts that it fails on."""

from dataclasses import replace
from math import nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.decision import Decision
from consumer.errors import ModelFailed
from tests.support.processors import infer, infer_all_but_poison, make_processor, records


def test_predictions_carry_the_labels_of_all_exits_up_to_theirs():
    """What the policy learns from comes with each prediction, in input order."""
    processor = make_processor()
    events, _ = processor.read(records(b"a", b"bb"))
    first, second = processor.predict(events, [Decision(2), Decision(0)]).predictions
    assert (first.exit, first.layer, first.exit_labels, first.label) == (2, 12, (1, 0, 1), 1)
    assert (second.exit, second.layer, second.exit_labels, second.label) == (0, 1, (0,), 0)
    assert (first.label_name, second.label_name) == ("positive", "negative")
    assert first.model == "f1"


def test_predictions_of_a_calibrated_model_carry_scores_and_credits():
    """Both in thousandths, for each exit that ran; without a calibration there is neither."""

    def calibrated(texts, exits):
        return [replace(r, scores=(0.6004, 0.9996), credits=(0, 200)) for r in infer(texts, exits)]

    processor = make_processor()
    events, _ = processor.read(records(b"a"))
    (found,) = replace(processor, infer=calibrated).predict(events, [Decision(1)]).predictions
    assert (found.exit_scores, found.exit_credits) == ((600, 1000), (0, 200))
    (found,) = processor.predict(events, [Decision(1)]).predictions
    assert (found.exit_scores, found.exit_credits) == ((), ())


@given(st.lists(st.booleans(), min_size=1, max_size=40))
def test_texts_that_the_model_fails_on_are_dead_letters_and_no_others(poisonous):
    """Wherever they are in the batch: all others have their prediction, in order."""
    processor = make_processor(infer_all_but_poison)
    values = [b"poison %d" % i if bad else b"text %d" % i for i, bad in enumerate(poisonous)]
    events, _ = processor.read(records(*values))
    outcome = processor.predict(events, [Decision(i % 3) for i in range(len(events))])
    good = [i for i, bad in enumerate(poisonous) if not bad]
    assert [p.event.record.offset for p in outcome.predictions] == good
    assert [p.exit for p in outcome.predictions] == [i % 3 for i in good]
    letters = outcome.dead_letters
    assert [x.record.offset for x in letters] == [i for i, bad in enumerate(poisonous) if bad]
    assert all((x.stage, x.error_class) == ("infer", "model-failed") for x in letters)
    assert all("ValueError: cannot take this" in x.message for x in letters)


def test_a_text_that_the_tokeniser_fails_on_is_found_too():
    """Tokenising goes ahead of the batch's turn: what fails there waits, and is found then."""

    def tokenise(texts):
        if "poison" in texts:
            raise ValueError("cannot take this")
        return [text.split() for text in texts]

    processor = replace(make_processor(infer), tokenise=tokenise)
    prepared = processor.prepare(records(b"a b", b"poison", b"c"))
    assert prepared.tokens is None
    outcome = processor.run(prepared, lambda _: {})
    assert [p.event.text for p in outcome.predictions] == ["a b", "c"]
    assert [x.record.value for x in outcome.dead_letters] == [b"poison"]
    assert processor.prepare(records(b"a b")).tokens == [["a", "b"]]


@pytest.mark.parametrize("count", [1, 2, 9])
def test_a_model_that_fails_on_every_text_blames_none(count):
    """A machine that is broken, or short of memory, fills no dead letters, not even one by one."""

    def broken(texts, exits):
        raise RuntimeError("device lost")

    processor = make_processor(broken)
    events, _ = processor.read(records(*[b"text"] * count))
    with pytest.raises(ModelFailed, match="plain text too: RuntimeError: device lost"):
        processor.predict(events, [Decision(0)] * count)


def test_long_texts_are_not_blamed_where_memory_is_short():
    """Short texts still fit: that does not make the long ones bad."""

    def short_only(texts, exits):
        if any(len(text) > 100 for text in texts):
            raise MemoryError("no room")
        return infer(texts, exits)

    processor = make_processor(short_only)
    events, _ = processor.read(records(b"short", b"long " * 100))
    with pytest.raises(ModelFailed, match="no room"):
        processor.predict(events, [Decision(0)] * 2)


def test_a_score_that_is_no_number_is_a_failure_of_the_model():
    """Labels of such a text are chance: it becomes a dead letter and is not learnt from."""

    def infer_nan(texts, exits):
        found = infer(texts, exits)
        return [
            replace(r, scores=(nan,) * len(r.scores)) if "poison" in text else r
            for text, r in zip(texts, found, strict=True)
        ]

    processor = make_processor(infer_nan)
    events, _ = processor.read(records(b"a", b"poison", b"c"))
    outcome = processor.predict(events, [Decision(i) for i in range(3)])
    assert [p.event.text for p in outcome.predictions] == ["a", "c"]
    assert [x.error_class for x in outcome.dead_letters] == ["model-failed"]
