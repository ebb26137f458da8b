"""A tiny random model folder for tests: a few words, a few layers, made in milliseconds."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from model.checkpoint.folder import save_model
from model.config import ModelConfig
from model.network import MultiExitEncoder

if TYPE_CHECKING:
    from pathlib import Path

LETTERS = "abcdefghijklmnopqrstuvwxyz"
WORDS = ("good", "bad", "film", "room", "service", "the", "was", "not", "very", ".", ",", "!")


def tiny_tokenizer() -> Tokenizer:
    """Return a WordPiece tokenizer over a few words and all letters."""
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, *LETTERS]
    pieces += [f"##{letter}" for letter in LETTERS]
    vocab = {piece: i for i, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token=pieces[1]))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(
        ("[SEP]", vocab["[SEP]"]), ("[CLS]", vocab["[CLS]"])
    )
    return tokenizer


def tiny_config(
    *,
    exit_layers: tuple[int, ...] = (1, 2, 4),
    hidden_size: int = 32,
    heads: int = 4,
    positions: int = 24,
    labels: tuple[str, ...] = ("negative", "neutral", "positive"),
) -> ModelConfig:
    """Return a config small enough that a test can run every exit thousands of times."""
    return ModelConfig(
        vocab_size=tiny_tokenizer().get_vocab_size(),
        hidden_size=hidden_size,
        num_hidden_layers=exit_layers[-1],
        num_attention_heads=heads,
        intermediate_size=4 * hidden_size,
        max_position_embeddings=positions,
        exit_layers=exit_layers,
        labels=labels,
    )


def tiny_network(config: ModelConfig, *, seed: int = 0) -> MultiExitEncoder:
    """Return a random network whose weights are large enough that texts and exits differ."""
    torch.manual_seed(seed)
    network = MultiExitEncoder(config)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.15)
    return network.eval()


def write_tiny_model(folder: Path, *, seed: int = 0, config: ModelConfig | None = None) -> Path:
    """Write a tiny random model folder and return it."""
    network = tiny_network(config or tiny_config(), seed=seed)
    save_model(network, tiny_tokenizer(), folder)
    return folder


def text_by_text(q, k, v, q_starts, k_starts, *_longest):
    """Attend over offsets, as GPUs have it, on any device."""
    out = torch.full_like(q, torch.nan)  # rows of no text hold anything, as on a GPU
    for (a, b), (c, d) in zip(
        pairwise(q_starts.tolist()), pairwise(k_starts.tolist()), strict=True
    ):
        scores = torch.einsum("qhs,khs->hqk", q[a:b], k[c:d])
        out[a:b] = torch.einsum("hqk,khs->qhs", scores.softmax(-1), v[c:d])
    return out


def repeated(body):
    """Record nothing: run again what a graph would replay, in the same memory."""
    body()
    return body
