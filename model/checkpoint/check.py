"""Checks whether a model folder can be used, and names the first problem of each part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from model.batches import encode, predict
from model.calibration import read_calibration
from model.checkpoint.folder import check_tokenizer, fitting_tokenizer, load_model
from model.checkpoint.tokenizer import load_tokenizer
from model.checkpoint.weights import stores_of
from model.config import read_config
from model.errors import InvalidCheckpoint, ModelError
from model.folder_files import Store
from model.wording import counted

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tokenizers import Tokenizer

_TEXT = "A short text, to see that it runs."


@dataclass(frozen=True, slots=True)
class FolderFault:
    """What was checked, whether it is in order, and what was found."""

    part: str
    ok: bool
    found: str


def check_folder(folder: Path, *, allow_pickle: bool = False) -> list[FolderFault]:
    """Return a finding for config, weights, tokenizer, calibration and one forward pass."""
    return [
        _look("config", lambda: _config(folder)),
        _look("weights", lambda: _weights(folder, allow_pickle=allow_pickle)),
        _look("tokenizer", lambda: _tokenizer(folder, load_tokenizer(folder))),
        _look("calibration", lambda: _calibration(folder)),
        _look("forward pass", lambda: _forward(folder, allow_pickle=allow_pickle)),
    ]


def _look(part: str, look: Callable[[], str]) -> FolderFault:
    try:
        return FolderFault(part, ok=True, found=look())
    except ModelError as error:
        return FolderFault(part, ok=False, found=str(error))


def _config(folder: Path) -> str:
    config = read_config(folder)
    layers = ", ".join(map(str, config.exit_layers))
    return (
        f"{counted(config.num_hidden_layers, 'layer')}, hidden size {config.hidden_size}, "
        f"exits after layers {layers}, classes {', '.join(config.labels)}"
    )


def _weights(folder: Path, *, allow_pickle: bool) -> str:
    network = load_model(folder, allow_pickle=allow_pickle)
    for name, value in network.state_dict().items():
        if not torch.isfinite(value).all():
            raise InvalidCheckpoint(f"{name} holds numbers that are not finite")
    parameters = sum(p.numel() for p in network.parameters())
    packed = Store.INT8 in stores_of(folder, allow_pickle=allow_pickle)
    form = ", matrices stored in 8 bits" if packed else ""
    return f"{parameters:,} parameters, every key and shape as expected{form}"


def _tokenizer(folder: Path, tokenizer: Tokenizer) -> str:
    config = read_config(folder)
    check_tokenizer(tokenizer, config, where=str(folder))
    return f"{tokenizer.get_vocab_size():,} pieces for {config.vocab_size:,} embeddings"


def _calibration(folder: Path) -> str:
    found = read_calibration(folder, exits=read_config(folder).exits)
    return "none; `offramp model calibrate` makes it" if found is None else str(found)


def _forward(folder: Path, *, allow_pickle: bool) -> str:
    network = load_model(folder, allow_pickle=allow_pickle)
    tokenizer = fitting_tokenizer(folder, network.config)
    ids = encode(tokenizer, [_TEXT], network.config.max_position_embeddings)
    probabilities = predict(network, ids)[0]  # (exits, classes)
    if not torch.isfinite(probabilities).all():
        raise InvalidCheckpoint(f"{folder}: the answer of an exit is not a number")
    said = [network.config.labels[i] for i in probabilities.argmax(-1).tolist()]
    return f"{len(ids[0])} tokens, exits say {', '.join(said)}"
