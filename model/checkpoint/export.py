"""Writes any checkpoint that can be loaded as a model folder of ours."""

from __future__ import annotations

from typing import TYPE_CHECKING

from model.checkpoint.folder import fitting_tokenizer, load_model, save_model
from model.checkpoint.hub import locate
from model.errors import InvalidOptions

if TYPE_CHECKING:
    from pathlib import Path

    from model.config import ModelConfig


def export(reference: str, to: Path, *, allow_pickle: bool = False) -> ModelConfig:
    """Write a fine-tuned classifier of any layout we read as safetensors, and return its config.

    Args:
        reference: a folder or a hub id.
        to: the new folder.
        allow_pickle: read an old pytorch_model.bin.

    Raises:
        InvalidOptions: `to` is in use.
        ModelError: the checkpoint cannot be found or loaded, or its tokenizer does not fit.
    """
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise InvalidOptions(f"{to}: is not empty; give another folder")
    folder = locate(reference, allow_pickle=allow_pickle)
    network = load_model(folder, allow_pickle=allow_pickle)
    save_model(network, fitting_tokenizer(folder, network.config), to)
    return network.config
