"""A random BERT-base with twelve exits, and texts with the lengths of real ones."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from model.checkpoint.folder import fingerprint, load_model, save_model
from model.config import ModelConfig
from model.engine.engine import Engine
from model.engine.int8 import Agreement, observe, write_int8
from model.network import MultiExitEncoder

LAYERS = tuple(range(1, 13))
HEAD_WIDTH = 64
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_VOCABULARY = 30_522


@dataclass(frozen=True, slots=True)
class Workload:
    """Texts of one kind."""

    name: str
    source: str
    texts: tuple[str, ...]
    tokens: tuple[int, ...]


def write_model(folder: Path, *, layers: tuple[int, ...] = LAYERS, width: int = 768) -> Path:
    """Write a BERT-base with random weights and a vocabulary of invented words.

    Another `width` makes it smaller: for a look at whether everything runs.
    """
    torch.manual_seed(0)
    config = ModelConfig(
        vocab_size=_VOCABULARY,
        hidden_size=width,
        num_hidden_layers=12,
        num_attention_heads=width // HEAD_WIDTH,
        intermediate_size=4 * width,
        max_position_embeddings=512,
        exit_layers=layers,
        labels=("negative", "positive"),
    )
    save_model(MultiExitEncoder(config), invented_tokenizer(), folder)
    return folder


def invented_tokenizer() -> Tokenizer:
    """Return a tokenizer of as many whole words as BERT has word pieces."""
    pieces = [*_SPECIAL, *(f"w{number}" for number in range(_VOCABULARY - len(_SPECIAL)))]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=_SPECIAL[1]))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return tokenizer


def workload(name: str, count: int) -> Workload:
    """Return `count` texts of invented words, with lengths spread as those of real texts."""
    kinds = json.loads((Path(__file__).parents[1] / "lengths.json").read_text(encoding="utf-8"))
    lengths = kinds[name]["lengths"]
    chosen = [lengths[int((i + 0.5) * len(lengths) / count)] for i in range(count)]
    random.Random(0).shuffle(chosen)
    return _invented(name, kinds[name]["source"], chosen)


def even_workload(tokens: int, count: int) -> Workload:
    """Return `count` texts of invented words, each of so many tokens."""
    return _invented("even", f"{count} texts of {tokens} word pieces each", [tokens] * count)


def _invented(name: str, source: str, lengths: Sequence[int]) -> Workload:
    chance = random.Random(0)
    words = [f"w{number}" for number in range(_VOCABULARY - len(_SPECIAL))]
    texts = tuple(" ".join(chance.choices(words, k=length - 2)) for length in lengths)
    return Workload(name, source, texts, tuple(lengths))


def make_int8(folder: Path, engine: Engine, texts: tuple[str, ...]) -> None:
    """Calibrate without the gate: the labels of random weights mean nothing."""
    ranges = observe(load_model(folder), engine.tokenise(texts).ids)
    agreement = Agreement((0.0,) * engine.config.exits, texts=0)
    write_int8(folder, ranges, fingerprint=fingerprint(folder), agreement=agreement)
