"""WordPiece tokenizers as BERT's: from a tokenizer.json, from a vocab.txt, or trained on texts."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from model.errors import InvalidCheckpoint

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

TOKENIZER = "tokenizer.json"
VOCABULARY = "vocab.txt"
PAD, UNKNOWN, FIRST, LAST, MASK = SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def load_tokenizer(folder: Path) -> Tokenizer:
    """Read a folder's tokenizer.json or, where there is none, build one from its vocab.txt.

    Raises:
        InvalidCheckpoint: neither is there, or it is broken.
    """
    path = tokenizer_path(folder)
    try:
        if path.name == TOKENIZER:
            return Tokenizer.from_file(str(path))
        pieces = path.read_text(encoding="utf-8").splitlines()
        wordpiece = models.WordPiece({p: i for i, p in enumerate(pieces)}, unk_token=UNKNOWN)
        return _framed(_bert(wordpiece, lowercase=_lowercases(folder)))
    except InvalidCheckpoint:
        raise
    except Exception as error:  # tokenizers raises plain Exception
        raise InvalidCheckpoint(f"{path}: cannot be read: {error}") from error


def tokenizer_path(folder: Path) -> Path:
    """Return the file that `load_tokenizer` reads: tokenizer.json, or vocab.txt."""
    path = folder / TOKENIZER
    vocabulary = folder / VOCABULARY
    return vocabulary if vocabulary.exists() and not path.exists() else path


def train_tokenizer(texts: Iterable[str], size: int) -> Tokenizer:
    """Learn a lower-casing WordPiece vocabulary of at most `size` pieces."""
    tokenizer = _bert(models.WordPiece(unk_token=UNKNOWN), lowercase=True)
    trainer = trainers.WordPieceTrainer(
        vocab_size=size, special_tokens=list(SPECIAL), show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return _framed(tokenizer)


def special_ids(tokenizer: Tokenizer) -> dict[str, int]:
    """Return the ids of BERT's special names.

    Raises:
        InvalidCheckpoint: the vocabulary lacks one.
    """
    ids = {}
    for name in SPECIAL:
        number = tokenizer.token_to_id(name)
        if number is None:
            raise InvalidCheckpoint(f"the vocabulary lacks {name}")
        ids[name] = number
    return ids


def _bert(wordpiece: models.WordPiece, *, lowercase: bool) -> Tokenizer:
    tokenizer = Tokenizer(wordpiece)
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


def _framed(tokenizer: Tokenizer) -> Tokenizer:
    """Put [CLS] before and [SEP] after each text, and make the special names single tokens."""
    ids = special_ids(tokenizer)
    tokenizer.add_special_tokens(list(SPECIAL))
    tokenizer.post_processor = processors.BertProcessing((LAST, ids[LAST]), (FIRST, ids[FIRST]))
    return tokenizer


def _lowercases(folder: Path) -> bool:
    """Tell whether tokenizer_config.json wants lower case; BERT's default is that it does."""
    try:
        settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return True
    return bool(settings.get("do_lower_case", True))
