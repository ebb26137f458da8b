"""Tokenising: cutting a long text first changes no id, and truncation is counted."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.batches import encode
from model.tokeniser import Tokeniser
from tests.support.tiny_model import WORDS, tiny_tokenizer

LIMIT = 6

texts = st.lists(
    st.sampled_from([*WORDS, "x", "qqqqqqqqqqqq", "Café", "電影", "[SEP]", " ", "\n", "\t\u00a0"]),
    max_size=60,
).map(" ".join)


@given(st.lists(texts | st.text(max_size=200), max_size=5))
@settings(deadline=None)
def test_ids_are_those_of_the_whole_text_cut_to_the_limit(texts: list[str]) -> None:
    """Cutting before tokenising gives the ids of tokenising everything and then truncating.

    In training as in the stream.
    """
    whole = tiny_tokenizer()
    whole.enable_truncation(LIMIT)
    clean = [text.encode("utf-8", "replace").decode() for text in texts]
    expected = [encoding.ids for encoding in whole.encode_batch(clean)]
    tokens = Tokeniser(tiny_tokenizer(), max_tokens=LIMIT).encode(texts)
    assert tokens.ids == expected
    assert encode(tiny_tokenizer(), texts, LIMIT) == expected


def test_training_reads_what_stands_behind_much_white_space() -> None:
    """A text is never cut inside a word, nor before it has as many tokens as are asked for."""
    text = " " * 500 + "good" + "\n" * 500 + "room bad"
    assert encode(tiny_tokenizer(), [text], 24) == [tiny_tokenizer().encode("good room bad").ids]


@given(st.lists(texts, max_size=5))
@settings(deadline=None)
def test_truncated_says_whether_tokens_were_lost(texts: list[str]) -> None:
    """A text counts as truncated exactly when it has more tokens than the limit."""
    lengths = [len(encoding) for encoding in tiny_tokenizer().encode_batch(texts)]
    tokens = Tokeniser(tiny_tokenizer(), max_tokens=LIMIT).encode(texts)
    assert tokens.truncated == tuple(length > LIMIT for length in lengths)
    assert tokens.count == sum(min(length, LIMIT) for length in lengths)


@pytest.mark.parametrize("text", ["\ud800", "good \udfff film"])
def test_a_lone_surrogate_is_replaced_not_refused(text: str) -> None:
    """A text that is not valid Unicode is still tokenised, like its neighbours."""
    tokens = Tokeniser(tiny_tokenizer(), max_tokens=LIMIT).encode([text, "good film"])
    assert len(tokens.ids[0]) >= 2
    assert tokens.ids[1] == tiny_tokenizer().encode("good film").ids
