"""Word pieces that texts do not use, taken out of a model's vocabulary and embedding."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from tokenizers import Tokenizer

from model.checkpoint.card import Section, carry_card
from model.checkpoint.rewrite import Opened, rewrite
from model.checkpoint.tokenizer import FIRST, LAST, SPECIAL
from model.errors import InvalidOptions
from model.folder_files import Store, shown
from model.network import MultiExitEncoder
from model.tokeniser import Tokeniser
from model.wording import counted

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from model.checkpoint.rewrite import Comparison, Rewritten

_CHUNK = 10_000  # texts encoded at once: bounds the tokenizer's memory
_WORDS = "elasticbert.embeddings.word_embeddings.weight"


@dataclass(frozen=True, slots=True)
class Choice:
    """Which pieces stay, and what that means for the texts that chose them."""

    kept: tuple[int, ...]  # ids, rising
    min_count: int
    texts: int
    retokenised: int  # texts that have other tokens without the other pieces

    @classmethod
    def of(cls, opened: Opened, texts: Sequence[str], *, min_count: int) -> Choice:
        """Choose the pieces that occur at least `min_count` times in texts, cut as an engine does.

        Raises:
            InvalidOptions: the tokenizer has no word pieces.
        """
        config = opened.network.config
        tokeniser = Tokeniser(opened.tokenizer, max_tokens=config.max_position_embeddings)
        chunks = (texts[start : start + _CHUNK] for start in range(0, len(texts), _CHUNK))
        parts = [tokeniser.encode(chunk) for chunk in chunks]
        counts = np.zeros(config.vocab_size, dtype=np.int64)
        for part in parts:
            counts += np.bincount(part.flat, minlength=config.vocab_size)
        kept = _kept(opened, counts, min_count)
        gone = np.ones(config.vocab_size, dtype=bool)
        gone[kept] = False
        hit = sum(int(np.logical_or.reduceat(gone[p.flat], p.starts[:-1]).sum()) for p in parts)
        return cls(tuple(kept), min_count, len(texts), hit)


def trim(
    source: Opened, choice: Choice, to: Path, *, compare: Comparison, command: Sequence[str]
) -> Rewritten:
    """Write a model with the pieces of a choice only; other words are split into smaller ones.

    Raises:
        InvalidOptions: the new folder is not empty.
        ModelError: what was written cannot be loaded.
    """
    made = trimmed(source, choice.kept, to)
    written = rewrite(source, made, store=Store.FP16, compare=compare)
    pieces = source.tokenizer.get_vocab_size()
    share = choice.retokenised / max(1, choice.texts)
    said = (
        f"{counted(pieces - len(choice.kept), 'word piece')} of {pieces:,} went, because "
        f"{counted(choice.texts, 'text')} used them less than "
        f"{counted(choice.min_count, 'time')}. {share:.1%} of these texts have other tokens now."
    )
    carry_card(source.folder, to, written, Section("Trimmed vocabulary", said, command))
    return written


def _kept(opened: Opened, counts: NDArray[np.int64], min_count: int) -> list[int]:
    """Return the ids of the pieces that stay, rising.

    Besides frequent pieces these are the special and the added ones, and all single characters. A
    piece also stays if it has a character that the vocabulary does not have both at the beginning
    and inside of words: without it a word could become [UNK].
    """
    model = json.loads(opened.tokenizer.to_str())["model"]
    if model["type"] != "WordPiece":
        raise InvalidOptions(
            f"{opened.folder}: the tokenizer is of the type {shown(model['type'])}; "
            "only WordPiece vocabularies can be trimmed"
        )
    inside = model["continuing_subword_prefix"]
    vocabulary = opened.tokenizer.get_vocab(with_added_tokens=True)
    special = {*SPECIAL, *(t.content for t in opened.tokenizer.get_added_tokens_decoder().values())}
    spelt = [piece for piece in vocabulary if piece not in special]
    letters = {piece for piece in spelt if len(piece) == 1}
    letters &= {p.removeprefix(inside) for p in spelt if len(p) == len(inside) + 1}

    def stays(piece: str, number: int) -> bool:
        body = piece.removeprefix(inside)
        frequent = counts[number] >= min_count
        return frequent or piece in special or len(body) <= 1 or not letters.issuperset(body)

    return sorted({number for piece, number in vocabulary.items() if stays(piece, number)})


def trimmed(source: Opened, kept: Sequence[int], to: Path) -> Opened:
    """Return the model with the embeddings of these ids only, numbered anew in their order."""
    numbers = {old: new for new, old in enumerate(kept)}
    config = source.network.config
    pad = numbers.get(config.pad_token_id, 0)
    network = MultiExitEncoder(replace(config, vocab_size=len(kept), pad_token_id=pad))
    state = dict(source.network.state_dict())
    state[_WORDS] = state[_WORDS][list(kept)]
    network.load_state_dict(state)
    return Opened(to, network.eval(), _renumbered(source.tokenizer, numbers))


def _renumbered(tokenizer: Tokenizer, numbers: dict[int, int]) -> Tokenizer:
    """Return a tokenizer that has only these ids, under their new numbers."""
    content = json.loads(tokenizer.to_str())
    words = content["model"]["vocab"]
    kept = {piece: numbers[old] for piece, old in words.items() if old in numbers}
    content["model"]["vocab"] = dict(sorted(kept.items(), key=lambda item: item[1]))
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    for token in content["added_tokens"]:
        token["id"] = numbers[token["id"]]
    first, last = (numbers[vocabulary[name]] for name in (FIRST, LAST))
    content["post_processor"] = {  # all that `check_tokenizer` lets pass frame texts like this
        "type": "BertProcessing",
        "sep": [LAST, last],
        "cls": [FIRST, first],
    }
    return Tokenizer.from_str(json.dumps(content))
