"""The network: a post-LayerNorm BERT encoder with a pooler and a classifier at each exit.

ElasticBERT (arXiv 2110.07038). Names of parameters follow the published checkpoints, so that
state dicts need no translation. Shapes at line ends: B texts, T tokens, D hidden size, H heads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (torch's own convention)

if TYPE_CHECKING:
    from model.config import ModelConfig


class Embeddings(nn.Module):
    """Word, position and segment embeddings, summed and normalised."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        d = config.hidden_size
        self.word_embeddings = nn.Embedding(config.vocab_size, d)
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, d)
        self.token_type_embeddings = nn.Embedding(config.type_vocab_size, d)
        self.LayerNorm = nn.LayerNorm(d, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, token_ids: Tensor, positions: Tensor) -> Tensor:
        """Return the embedding of each token; the segment is always 0."""
        x = self.word_embeddings(token_ids) + self.position_embeddings(positions)  # (..., D)
        x = x + self.token_type_embeddings.weight[0]
        normed: Tensor = self.dropout(self.LayerNorm(x))
        return normed


class SelfAttention(nn.Module):
    """Query, key and value projections of one layer."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        d = config.hidden_size
        self.query = nn.Linear(d, d)
        self.key = nn.Linear(d, d)
        self.value = nn.Linear(d, d)


class Output(nn.Module):
    """A linear map, then residual and LayerNorm."""

    def __init__(self, size: int, config: ModelConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(size, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        """Return LayerNorm(dense(x) + residual)."""
        normed: Tensor = self.LayerNorm(self.dropout(self.dense(x)) + residual)
        return normed


class Attention(nn.Module):
    """Multi-head self-attention with its output projection."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.self = SelfAttention(config)
        self.output = Output(config.hidden_size, config)
        self.heads = config.num_attention_heads
        self.dropout_p = config.attention_probs_dropout_prob

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Attend within each text; `mask` is True where a key may be seen, (B, 1, 1, T)."""
        b, t, d = x.shape
        q, k, v = (
            proj(x).view(b, t, self.heads, d // self.heads).transpose(1, 2)  # (B, H, T, D/H)
            for proj in (self.self.query, self.self.key, self.self.value)
        )
        dropout_p = self.dropout_p if self.training else 0.0
        context = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout_p)
        attended: Tensor = self.output(context.transpose(1, 2).reshape(b, t, d), x)  # (B, T, D)
        return attended


class Intermediate(nn.Module):
    """First half of the feed-forward block."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.intermediate_size)

    def forward(self, x: Tensor) -> Tensor:
        """Return gelu(dense(x)), the exact (erf) GELU."""
        return F.gelu(self.dense(x))


class Layer(nn.Module):
    """One transformer layer: attention, then feed-forward, each post-normalised."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.attention = Attention(config)
        self.intermediate = Intermediate(config)
        self.output = Output(config.intermediate_size, config)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Return the layer's output, (B, T, D)."""
        x = self.attention(x, mask)
        out: Tensor = self.output(self.intermediate(x), x)
        return out


class Pooler(nn.Module):
    """tanh of a linear map of the first token."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, first: Tensor) -> Tensor:
        """Return the pooled first tokens, (B, D)."""
        return torch.tanh(self.dense(first))


class Encoder(nn.Module):
    """The stack of layers, and one pooler per exit (keyed by 0-based layer, as published)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.layer = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))
        self.pooler = nn.ModuleDict({str(n - 1): Pooler(config) for n in config.exit_layers})


class Backbone(nn.Module):
    """Embeddings and encoder."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.embeddings = Embeddings(config)
        self.encoder = Encoder(config)


class MultiExitEncoder(nn.Module):
    """A BERT encoder with a classifier at each of `config.exit_layers`."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.elasticbert = Backbone(config)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.classifiers = nn.ModuleDict(
            {
                str(layer - 1): nn.Linear(config.hidden_size, len(config.labels))
                for layer in config.exit_layers
            }
        )
        self.apply(_init)

    def forward(
        self, token_ids: Tensor, attention_mask: Tensor, *, deepest: int | None = None
    ) -> list[Tensor]:
        """Return the logits of exits 0..deepest (default: all), each (B, classes).

        Args:
            token_ids: (B, T), padded at the end.
            attention_mask: (B, T), 1 for a token and 0 for padding.
            deepest: the last exit to compute; layers behind it are not run.
        """
        deepest = self.config.exits - 1 if deepest is None else deepest
        layers = self.config.exit_layers[: deepest + 1]
        positions = torch.arange(token_ids.shape[1], device=token_ids.device)
        x = self.elasticbert.embeddings(token_ids, positions)  # (B, T, D)
        mask = attention_mask[:, None, None, :].bool()  # (B, 1, 1, T)
        logits = []
        for n, layer in enumerate(self.elasticbert.encoder.layer[: layers[-1]], start=1):
            x = layer(x, mask)
            if n in layers:
                logits.append(self.classify(x[:, 0], exit_layer=n))
        return logits

    def classify(self, first: Tensor, *, exit_layer: int) -> Tensor:
        """Return the logits, (B, classes), of the exit after `exit_layer` (1-based)."""
        key = str(exit_layer - 1)
        pooled = self.elasticbert.encoder.pooler[key](first)
        scores: Tensor = self.classifiers[key](self.dropout(pooled))
        return scores


def _init(module: nn.Module) -> None:
    """Initialise as BERT: normal weights with deviation 0.02, zero biases."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)
