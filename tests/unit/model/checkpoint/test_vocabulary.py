"""A vocabulary file gives the token ids that transformers gives."""

import json

import pytest

from model.checkpoint.tokenizer import load_tokenizer
from tests.support.tiny_model import tiny_tokenizer


def test_vocabulary_file(tmp_path):
    """A folder with a vocab.txt and no tokenizer.json gives the same ids."""
    tokenizer = tiny_tokenizer()
    pieces = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    (tmp_path / "vocab.txt").write_text("\n".join(piece for piece, _ in pieces) + "\n")
    text = "The FILM was not very good, zebra!"
    assert load_tokenizer(tmp_path).encode(text).ids == tokenizer.encode(text).ids
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    assert load_tokenizer(tmp_path).encode("FILM").tokens == ["[CLS]", "[UNK]", "[SEP]"]


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_vocabulary_has_one_piece_a_line(tmp_path, ends, mark):
    """Only line ends part pieces: those that Unicode calls line breaks are pieces themselves."""
    pieces = [
        "[PAD]",
        "\u2028",
        "\x85",
        "\x0c",
        "a\u2029b",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        "film",
    ]
    text = mark + ends.join(pieces) + ends
    (tmp_path / "vocab.txt").write_bytes(text.encode())
    vocabulary = load_tokenizer(tmp_path).get_vocab()
    assert vocabulary == {piece: number for number, piece in enumerate(pieces)}


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"do_lower_case": False},
        {"do_lower_case": False, "strip_accents": True},
        {"strip_accents": False, "tokenize_chinese_chars": True},
        {"tokenize_chinese_chars": False, "model_max_length": 512},
        {"strip_accents": None},
    ],
)
def test_a_vocabulary_is_used_as_tokenizer_config_says(tmp_path, said):
    """Case, accents and Chinese characters are treated as transformers does with the same files."""
    from transformers import BertTokenizer

    pieces = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        "film",
        "Film",
        "café",
        "cafe",
        "好",
        "好片",
    ]
    (tmp_path / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(said))
    theirs = BertTokenizer.from_pretrained(tmp_path)
    text = "Film FILM film café cafe Café 好片 好"
    assert load_tokenizer(tmp_path).encode(text).ids == theirs(text)["input_ids"]
