"""WordPiece tokenizers as BERT's: from a tokenizer.json, from a vocab.txt, or trained on texts."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from model.errors import InvalidCheckpoint
from model.folder_files import (
    TOKENIZER,
    TOKENIZER_SETTINGS,
    VOCABULARY,
    check_regular,
    read_object,
    read_text,
    shown,
    told_as,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

PAD, UNKNOWN, FIRST, LAST, MASK = SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_PARTS: dict[str, Any] = {  # of a tokenizer.json, and what each is if it is left out
    "version": "1.0",
    "truncation": None,
    "padding": None,
    "added_tokens": [],
    "normalizer": None,
    "pre_tokenizer": None,
    "post_processor": None,
    "decoder": None,
}


@dataclass(frozen=True, slots=True)
class Normalising:
    """How texts are prepared for a vocab.txt, as tokenizer_config.json says; by default as BERT."""

    do_lower_case: bool = True
    strip_accents: bool | None = None  # None: if texts are lower-cased
    tokenize_chinese_chars: bool = True
    clean_text: bool = True

    @classmethod
    def read(cls, folder: Path) -> Normalising:
        """Read a folder's tokenizer_config.json, if it has one.

        Raises:
            InvalidCheckpoint: it is broken, or a setting is neither true nor false.
        """
        path = folder / TOKENIZER_SETTINGS
        if not path.exists():
            return cls()
        data = read_object(path, error=InvalidCheckpoint)
        given = {}
        for field in fields(cls):
            value = given[field.name] = data.get(field.name, field.default)
            if not isinstance(value, bool) and value is not field.default:
                raise InvalidCheckpoint(
                    f"{path}: {field.name} is {shown(value)}, expected true or false"
                )
        return cls(**given)


def load_tokenizer(folder: Path) -> Tokenizer:
    """Read a folder's tokenizer.json or, if there is none, build one from its vocab.txt.

    It neither cuts nor pads texts, whatever the file says.

    Raises:
        InvalidCheckpoint: neither is there, or it is broken.
    """
    path = tokenizer_path(folder)
    check_regular(path, error=InvalidCheckpoint)
    if path.name == TOKENIZER:
        try:
            with told_as(InvalidCheckpoint, path):
                tokenizer = Tokenizer.from_file(str(path))
        except InvalidCheckpoint as error:
            raise _blamed(path, error) from error
    else:
        pieces = read_text(path, error=InvalidCheckpoint).removesuffix("\n").split("\n")
        with told_as(InvalidCheckpoint, path):
            ids = {piece: number for number, piece in enumerate(pieces)}
            wordpiece = models.WordPiece(ids, unk_token=UNKNOWN)
            tokenizer = _framed(_bert(wordpiece, Normalising.read(folder)), where=f"{path}: ")
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _blamed(path: Path, error: InvalidCheckpoint) -> InvalidCheckpoint:
    """Return the error with the part of a tokenizer.json without which it goes away.

    The library says at most at which line it stopped.
    """
    data = read_object(path, error=InvalidCheckpoint)
    for part, nothing in _PARTS.items():
        if data.get(part, nothing) == nothing:
            continue
        with contextlib.suppress(InvalidCheckpoint), told_as(InvalidCheckpoint, path):
            Tokenizer.from_str(json.dumps(data | {part: nothing}))
            return InvalidCheckpoint(f"{error} ({part} is {shown(data[part])})")
    return InvalidCheckpoint(f"{error} (model is {shown(data.get('model'))})")


def tokenizer_path(folder: Path) -> Path:
    """Return the file that `load_tokenizer` reads: tokenizer.json, or vocab.txt."""
    path = folder / TOKENIZER
    vocabulary = folder / VOCABULARY
    return vocabulary if vocabulary.exists() and not path.exists() else path


def train_tokenizer(texts: Iterable[str], size: int) -> Tokenizer:
    """Learn a lower-casing WordPiece vocabulary of at most `size` pieces."""
    tokenizer = _bert(models.WordPiece(unk_token=UNKNOWN), Normalising())
    trainer = trainers.WordPieceTrainer(
        vocab_size=size, special_tokens=list(SPECIAL), show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return _framed(tokenizer)


def special_ids(tokenizer: Tokenizer, *, where: str = "") -> dict[str, int]:
    """Return the ids of BERT's special names.

    Raises:
        InvalidCheckpoint: the vocabulary lacks one.
    """
    ids = {}
    for name in SPECIAL:
        number = tokenizer.token_to_id(name)
        if number is None:
            raise InvalidCheckpoint(f"{where}the vocabulary lacks {name}")
        ids[name] = number
    return ids


def _bert(wordpiece: models.WordPiece, settings: Normalising) -> Tokenizer:
    tokenizer = Tokenizer(wordpiece)
    tokenizer.normalizer = normalizers.BertNormalizer(
        clean_text=settings.clean_text,
        handle_chinese_chars=settings.tokenize_chinese_chars,
        strip_accents=settings.strip_accents,
        lowercase=settings.do_lower_case,
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


def _framed(tokenizer: Tokenizer, *, where: str = "") -> Tokenizer:
    """Put [CLS] before and [SEP] after each text, and make the special names single tokens."""
    ids = special_ids(tokenizer, where=where)
    tokenizer.add_special_tokens(list(SPECIAL))
    tokenizer.post_processor = processors.BertProcessing((LAST, ids[LAST]), (FIRST, ids[FIRST]))
    return tokenizer
