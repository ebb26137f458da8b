"""Vocabularies without the pieces that texts do not use."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, models

from model.checkpoint.folder import check_tokenizer, save_model
from model.checkpoint.rewrite import Opened
from model.checkpoint.tokenizer import SPECIAL, UNKNOWN, train_tokenizer
from model.checkpoint.trim import Choice, trimmed
from model.errors import InvalidOptions
from tests.support.tiny_model import LETTERS, tiny_config, tiny_network, tiny_tokenizer

TEXTS = ["good good film", "bad film", "The room was good!"]
_WORDS = "elasticbert.embeddings.word_embeddings.weight"


def opened(tokenizer, tmp_path):
    """Return a tiny model of a tokenizer."""
    size = max(tokenizer.get_vocab(with_added_tokens=True).values()) + 1
    network = tiny_network(replace(tiny_config(), vocab_size=size))
    save_model(network, tokenizer, tmp_path / "m")
    return Opened.of(tmp_path / "m")


def pieces(model, text):
    return model.tokenizer.encode(text).tokens


def test_pieces_that_texts_use_often_enough_stay(tmp_path):
    """With all letters and special tokens; the others go, and so do their embeddings."""
    model = opened(tiny_tokenizer(), tmp_path)
    choice = Choice.of(model, TEXTS, min_count=2)
    made = trimmed(model, choice.kept, tmp_path / "new")
    assert set(model.tokenizer.get_vocab()) - set(made.tokenizer.get_vocab()) == {
        "bad", "room", "service", "the", "was", "not", "very",
    }  # fmt: skip
    assert (choice.texts, choice.retokenised) == (3, 2)
    assert made.network.config.vocab_size == len(choice.kept) == made.tokenizer.get_vocab_size()
    assert pieces(made, "good film") == pieces(model, "good film")
    assert pieces(made, "bad film") == ["[CLS]", "b", "##a", "##d", "film", "[SEP]"]
    check_tokenizer(made.tokenizer, made.network.config, where="made")
    old, new = (m.network.state_dict()[_WORDS] for m in (model, made))
    ids = made.tokenizer.get_vocab()
    for piece, number in model.tokenizer.get_vocab().items():
        if piece in ids:
            assert torch.equal(new[ids[piece]], old[number]), piece


def test_a_text_of_kept_pieces_gets_the_same_answer(tmp_path):
    """To the last bit: only the numbers of the pieces are others."""
    model = opened(tiny_tokenizer(), tmp_path)
    made = trimmed(model, Choice.of(model, TEXTS, min_count=2).kept, tmp_path / "new")
    logits = [
        m.network(torch.tensor([m.tokenizer.encode("good film !").ids]), torch.ones(1, 5).long())
        for m in (model, made)
    ]
    assert all(torch.equal(a, b) for a, b in zip(*logits, strict=True))


@settings(max_examples=60)
@given(
    words=st.lists(st.text("abcé", min_size=2, max_size=6), max_size=30),
    plain=st.sampled_from(["", "é"]),
    texts=st.lists(st.text("abcéz ", max_size=12), min_size=1, max_size=8),
    min_count=st.integers(1, 3),
)
def test_no_word_becomes_unknown(words, plain, texts, min_count):
    """Whatever the vocabulary: what was no [UNK] is spelt by the pieces that are left."""
    letters = "abcé".replace(plain, "") if plain else "abcé"
    names = dict.fromkeys([*SPECIAL, *letters, *(f"##{c}" for c in letters)])
    names |= dict.fromkeys(w if i % 2 else f"##{w}" for i, w in enumerate(words))
    tokenizer = tiny_tokenizer()
    vocabulary = {name: i for i, name in enumerate(names)}
    tokenizer.model = models.WordPiece(vocabulary, unk_token=UNKNOWN)
    tokenizer.normalizer = None
    content = json.loads(tokenizer.to_str())
    content["post_processor"] |= {
        "sep": ["[SEP]", vocabulary["[SEP]"]], "cls": ["[CLS]", vocabulary["[CLS]"]],
    }  # fmt: skip
    tokenizer = Tokenizer.from_str(json.dumps(content))
    config = replace(tiny_config(exit_layers=(1,)), vocab_size=len(vocabulary))
    model = Opened(Path("m"), tiny_network(config), tokenizer)
    made = trimmed(model, Choice.of(model, texts[:2], min_count=min_count).kept, Path("n"))
    for text in texts:
        before, after = pieces(model, text), pieces(made, text)
        if not set(text) - {*letters, " "}:
            assert after.count("[UNK]") <= before.count("[UNK]")
        if "[UNK]" not in [*before, *after]:
            spelt = ["".join(p.removeprefix("##") for p in each) for each in (before, after)]
            assert spelt[0] == spelt[1]


def test_a_piece_with_a_letter_that_has_no_form_stays(tmp_path):
    """Without it the word would be [UNK]."""
    tokenizer = tiny_tokenizer()
    vocabulary = tokenizer.get_vocab() | {"café": 69, "thé": 70, "##ést": 71}
    tokenizer.model = models.WordPiece(vocabulary, unk_token=UNKNOWN)
    tokenizer.normalizer = None
    model = opened(tokenizer, tmp_path)
    made = trimmed(model, Choice.of(model, TEXTS, min_count=1).kept, tmp_path / "new")
    assert {"café", "thé", "##ést"} <= set(made.tokenizer.get_vocab())
    assert pieces(made, "café") == ["[CLS]", "café", "[SEP]"]


def test_added_tokens_stay(tmp_path):
    """Those of the vocabulary and those behind it."""
    tokenizer = tiny_tokenizer()
    tokenizer.add_special_tokens(["[MASK]"])
    tokenizer.add_tokens([AddedToken("<user>", single_word=True)])
    model = opened(tokenizer, tmp_path)
    made = trimmed(model, Choice.of(model, TEXTS, min_count=100).kept, tmp_path / "new")
    assert pieces(made, "a <user> b [MASK]") == ["[CLS]", "a", "<user>", "b", "[MASK]", "[SEP]"]
    assert made.network.config.vocab_size == len(SPECIAL) + 3 + 2 * len(LETTERS) + 1
    check_tokenizer(made.tokenizer, made.network.config, where="made")


def test_padding_follows_its_number(tmp_path):
    """The number of [PAD] in config.json is the new one."""
    tokenizer = tiny_tokenizer()
    content = json.loads(tokenizer.to_str())
    vocabulary = content["model"]["vocab"]
    vocabulary["[PAD]"], vocabulary["service"] = vocabulary["service"], vocabulary["[PAD]"]
    model = opened(Tokenizer.from_str(json.dumps(content)), tmp_path)
    network = tiny_network(replace(model.network.config, pad_token_id=vocabulary["[PAD]"]))
    model = replace(model, network=network)
    made = trimmed(model, Choice.of(model, TEXTS, min_count=1).kept, tmp_path / "new")
    assert made.network.config.pad_token_id == made.tokenizer.token_to_id("[PAD]") != 0


def test_a_trained_vocabulary_can_be_trimmed(tmp_path):
    """As `offramp train --new` makes them, with a tokenizer of more parts."""
    model = opened(train_tokenizer(TEXTS * 20, 100), tmp_path)
    choice = Choice.of(model, ["good film"], min_count=1)
    made = trimmed(model, choice.kept, tmp_path / "new")
    assert len(choice.kept) < model.tokenizer.get_vocab_size()
    assert pieces(made, "Good film") == ["[CLS]", "good", "film", "[SEP]"]


def test_other_kinds_of_vocabularies_are_refused(tmp_path):
    """Pieces of BPE are made of one another, so none may go."""
    model = opened(tiny_tokenizer(), tmp_path)
    tokenizer = tiny_tokenizer()
    tokenizer.model = models.BPE(tokenizer.get_vocab(), [])
    with pytest.raises(InvalidOptions, match="'BPE'; only WordPiece vocabularies can be trimmed"):
        Choice.of(replace(model, tokenizer=tokenizer), TEXTS, min_count=1)
