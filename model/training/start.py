"""What a training starts from: a checkpoint, or random weights and a vocabulary of the texts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from model.checkpoint.folder import fitting_tokenizer, start_from
from model.checkpoint.hub import locate
from model.checkpoint.tokenizer import load_tokenizer, train_tokenizer
from model.config import ModelConfig, read_config
from model.folder_files import TOKENIZER
from model.network import MultiExitEncoder
from model.training.settings import NewModel

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tokenizers import Tokenizer

    from model.training.settings import PretrainRequest, Request


def begin(  # noqa: PLR0913  (each is a plain setting)
    request: Request | PretrainRequest,
    texts: Iterable[str],
    work: Path,
    *,
    labels: tuple[str, ...],
    new_heads: bool,
    last_only: bool = False,
) -> tuple[MultiExitEncoder, Tokenizer]:
    """Return the network and the tokenizer that a training starts with.

    Args:
        request: names the checkpoint or the sizes, and the layers that get an exit.
        texts: a new model learns its vocabulary from them.
        work: keeps the vocabulary that was learnt.
        labels: names of the classes.
        new_heads: start poolers and classifiers at random, even if the checkpoint has them.
        last_only: by default the last layer alone gets an exit; else those of the checkpoint do,
            or every layer if it has fewer than two.

    Raises:
        ModelError: the checkpoint or the sizes cannot be used.
    """
    start = request.start
    if isinstance(start, NewModel):
        every = tuple(range(1, start.layers + 1))
        layers = request.exit_layers or (every[-1:] if last_only else every)
        return _new(start, texts, work, exit_layers=layers, labels=labels)
    folder = locate(start, allow_pickle=request.allow_pickle)
    found = read_config(folder, labels=labels)
    every = tuple(range(1, found.num_hidden_layers + 1))
    usual = found.exit_layers if found.exits > 1 else every
    network = start_from(
        folder,
        exit_layers=request.exit_layers or (every[-1:] if last_only else usual),
        labels=labels,
        new_heads=new_heads,
        allow_pickle=request.allow_pickle,
    )
    return network, fitting_tokenizer(folder, network.config)


def _new(
    sizes: NewModel,
    texts: Iterable[str],
    work: Path,
    *,
    exit_layers: tuple[int, ...],
    labels: tuple[str, ...],
) -> tuple[MultiExitEncoder, Tokenizer]:
    """Return a random network and a tokenizer learnt from texts.

    Ties make a tokenizer that is learnt twice differ, so a resumed training reads the first one.
    """
    if not (work / TOKENIZER).exists():
        train_tokenizer(texts, sizes.vocabulary).save(str(work / TOKENIZER))
    tokenizer = load_tokenizer(work)
    config = ModelConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=sizes.hidden,
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        intermediate_size=sizes.ffn,
        max_position_embeddings=sizes.positions,
        exit_layers=exit_layers,
        labels=labels,
    )
    return MultiExitEncoder(config), tokenizer
