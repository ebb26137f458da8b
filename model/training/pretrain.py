"""`offramp pretrain` from a file of texts to a folder that `offramp train --from` starts from."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from model.batches import encode
from model.checkpoint.folder import check_tokenizer, load_tokenizer, start_from
from model.checkpoint.hub import locate
from model.config import default_labels, read_config
from model.texts.data import read_texts
from model.training.masked_lm import MaskedLanguageModel, Masking, pretrain, save_encoder
from model.training.new_model import NewModel
from model.training.output import open_output
from model.training.plots import plot_curves
from model.training.trainer import clear_checkpoints

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tokenizers import Tokenizer

    from model.network import MultiExitEncoder
    from model.training.request import PretrainRequest
    from model.training.settings import Progress

CURVES = "curves.png"
_UNUSED = default_labels(2)  # a network has classifiers; pre-training leaves them alone


@dataclass(frozen=True, slots=True)
class Pretrained:
    """What a pre-training gave."""

    texts: int
    steps: int
    loss: float  # of the last report: nats per guessed word piece
    training_s: float


def run_pretraining(
    request: PretrainRequest,
    *,
    resume: bool = False,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> Pretrained:
    """Pre-train as asked and write the folder.

    Raises:
        ModelError: the texts, the start or the settings cannot be used, or the training failed.
    """
    texts = read_texts(request.texts, request.layout)
    work = open_output(request.out, request.to_dict(), resume=resume)
    torch.manual_seed(request.settings.seed)
    network, tokenizer = _begin(request, texts, work)
    most_tokens = min(request.max_tokens, network.config.max_position_embeddings)
    model = MaskedLanguageModel(network)
    started = time.monotonic()
    history = pretrain(
        model,
        encode(tokenizer, texts, most_tokens),
        Masking.of(tokenizer),
        request.settings,
        work,
        resume=resume,
        on_progress=on_progress,
    )
    save_encoder(model, tokenizer, request.out)
    plot_curves(history, request.out / CURVES)
    clear_checkpoints(work)
    losses = [entry["loss"] for entry in history if "loss" in entry]
    return Pretrained(
        texts=len(texts),
        steps=int(history[-1]["step"]),
        loss=losses[-1],
        training_s=time.monotonic() - started,
    )


def _begin(
    request: PretrainRequest, texts: Sequence[str], work: Path
) -> tuple[MultiExitEncoder, Tokenizer]:
    if isinstance(request.start, NewModel):
        layers = request.exit_layers or (request.start.layers,)
        return request.start.build(texts, work, exit_layers=layers, labels=_UNUSED)
    folder = locate(request.start, allow_pickle=request.allow_pickle)
    layers = request.exit_layers or (read_config(folder, labels=_UNUSED).num_hidden_layers,)
    network = start_from(
        folder,
        exit_layers=layers,
        labels=_UNUSED,
        new_heads=True,
        allow_pickle=request.allow_pickle,
    )
    tokenizer = load_tokenizer(folder)
    check_tokenizer(tokenizer, network.config, where=str(folder))
    return network, tokenizer
