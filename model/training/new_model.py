"""A model that starts from nothing: its sizes, its vocabulary, its random weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from model.checkpoint.tokenizer import TOKENIZER, load_tokenizer, train_tokenizer
from model.config import ModelConfig
from model.network import MultiExitEncoder

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tokenizers import Tokenizer


@dataclass(frozen=True, slots=True)
class NewModel:
    """Sizes of a model that starts from nothing; its vocabulary is learnt from the texts."""

    layers: int
    hidden: int
    heads: int
    ffn: int
    positions: int
    vocabulary: int

    def build(
        self,
        texts: Iterable[str],
        work: Path,
        *,
        exit_layers: tuple[int, ...] | None,
        labels: tuple[str, ...],
    ) -> tuple[MultiExitEncoder, Tokenizer]:
        """Return a random network and a tokenizer learnt from texts.

        Args:
            texts: to learn the vocabulary from.
            work: keeps the tokenizer: learnt twice it may differ in ties, so a resumed training
                reads the first one.
            exit_layers: after which layers there are exits; None for every layer.
            labels: names of the classes.

        Raises:
            InvalidConfig: the sizes do not go together.
        """
        if not (work / TOKENIZER).exists():
            train_tokenizer(texts, self.vocabulary).save(str(work / TOKENIZER))
        tokenizer = load_tokenizer(work)
        config = ModelConfig(
            vocab_size=tokenizer.get_vocab_size(),
            hidden_size=self.hidden,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            intermediate_size=self.ffn,
            max_position_embeddings=self.positions,
            exit_layers=exit_layers or tuple(range(1, self.layers + 1)),
            labels=labels,
        )
        return MultiExitEncoder(config), tokenizer
