"""A new model on texts that another one has answered: what is sampled, compared and refused."""

import pytest

from benchmarks.free_model import FreeModel
from consumer.errors import InvalidSettings
from consumer.events.predictions import ReadPrediction
from consumer.events.record import Record
from consumer.shadow.compare import Answered, Comparison, is_sampled
from policy_state.shadowed import ComparedModel

LIVE = ComparedModel("live", (2, 4), 2)
OLD = ComparedModel("old", (6,), 2)
MODELS = {model.fingerprint: model for model in (LIVE, OLD)}


class PickyModel(FreeModel):
    """Fails on one text."""

    def run_tokens(self, texts, exits):
        """Classify, but for one text."""
        if "!" in texts:
            raise ArithmeticError("this text")
        return super().run_tokens(texts, exits)


def answered(text, name, *, domain="films", model="live", labels=(0,)):
    """Return a text with its live answer."""
    answer = ReadPrediction(domain=domain, exit_labels=labels, model=model, label_name=name)
    return Answered(Record("in", 0, 0, 0, None, b""), text, answer)


def test_texts_are_counted_by_live_model_and_domain():
    """A roll of the live model, and its domains, are kept apart."""
    texts = [
        answered("a", "positive"),
        answered("aa", "positive", labels=(0, 1)),
        answered("a", "positive", domain="hotels"),
        answered("a", "negative", model="old"),
    ]
    found = Comparison(FreeModel(), {}).compare(texts, MODELS)
    assert (found.texts, found.same, found.failed) == (4, 2, 0)
    assert {live: set(domains) for live, domains in found.counts.items()} == {
        LIVE: {"films", "hotels"},
        OLD: {"films"},
    }
    films = found.counts[LIVE]["films"]
    assert films.stopped == (1, 1)
    assert films.same == (1, 1, 1)
    assert films.stats.observed == (2, 2, 2)
    assert (films.full, films.full_same) == (1, 0)


def test_a_text_that_the_new_model_fails_on_is_left_out():
    """The others are compared; how many were left out is told."""
    texts = [answered("a", "positive"), answered("!", "positive"), answered("aa", "negative")]
    found = Comparison(PickyModel(), {}).compare(texts, MODELS)
    assert (found.texts, found.same, found.failed) == (2, 2, 1)
    assert found.counts[LIVE]["films"].texts == 2


def test_labels_are_compared_by_their_names_or_as_they_are_mapped():
    """Another name is an error that says what to give, and a mapped one is compared."""
    texts = [answered("a", "pos"), answered("aa", "neg")]
    with pytest.raises(InvalidSettings, match=r"'pos'.*negative, positive.*--label pos=NAME"):
        Comparison(FreeModel(), {}).compare(texts, MODELS)
    names = {"pos": "positive", "neg": "negative"}
    assert Comparison(FreeModel(), names).compare(texts, MODELS).same == 2
    with pytest.raises(InvalidSettings, match="no label 'good'"):
        Comparison(FreeModel(), {"pos": "good"})


def test_the_sample_is_the_share_and_always_the_same():
    """Every partition and topic gives its share; all and none are exact."""
    for topic_id, partition in (("a", 0), ("a", 1), ("b", 0)):
        records = [Record("out", partition, offset, 0, None, b"") for offset in range(20_000)]
        kept = [r.offset for r in records if is_sampled(r, topic_id, 0.1)]
        assert 1_800 < len(kept) < 2_200
        assert kept == [r.offset for r in records if is_sampled(r, topic_id, 0.1)]
        assert set(kept) <= {r.offset for r in records if is_sampled(r, topic_id, 0.2)}
        assert all(is_sampled(r, topic_id, 1) for r in records)
        assert not any(is_sampled(r, topic_id, 0) for r in records)
