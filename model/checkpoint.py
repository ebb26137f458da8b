"""A model folder: config.json, model.safetensors and tokenizer.json, read and written."""

from __future__ import annotations

import hashlib
import pickle
from typing import TYPE_CHECKING

import safetensors.torch
import torch
from safetensors import SafetensorError

from model.config import ModelConfig, read_config
from model.errors import InvalidCheckpoint
from model.layouts import exit_layers as layers_with_classifier
from model.layouts import is_head, key_map, listed
from model.network import MultiExitEncoder
from model.vocabulary import FIRST, LAST, TOKENIZER, load_tokenizer, tokenizer_path

if TYPE_CHECKING:
    from pathlib import Path

    from tokenizers import Tokenizer

__all__ = [
    "check_tokenizer",
    "fingerprint",
    "load_model",
    "load_tokenizer",
    "read_state",
    "save_model",
    "start_from",
]

WEIGHTS = "model.safetensors"
OLD_WEIGHTS = "pytorch_model.bin"


def load_model(folder: Path, *, allow_pickle: bool = False) -> MultiExitEncoder:
    """Build the classifier a folder holds, in fp32 on the CPU, in evaluation mode.

    Reads what this project writes and the published fine-tuned layouts; see `model.layouts`.

    Args:
        folder: config.json and weights.
        allow_pickle: read an old pytorch_model.bin where there is no model.safetensors.

    Raises:
        InvalidConfig: config.json is missing or describes no network.
        InvalidCheckpoint: weights are missing, left over, or of the wrong shape.
    """
    config = read_config(folder)
    state = read_state(folder, config, allow_pickle=allow_pickle)
    where = str(folder)
    found = layers_with_classifier(state)
    if not found:
        raise InvalidCheckpoint(
            f"{where}: no classifiers in the weights; "
            f"it can be a start for fine-tuning (offramp train --from {where})"
        )
    if found != config.exit_layers:
        raise InvalidCheckpoint(
            f"{where}: config.json puts exits after layers {_numbers(config.exit_layers)}, "
            f"the weights have classifiers after layers {_numbers(found)}"
        )
    network = MultiExitEncoder(config)
    _check_state(state, network, where=where)
    network.load_state_dict(state)
    return network.eval()


def start_from(
    folder: Path,
    *,
    exit_layers: tuple[int, ...],
    labels: tuple[str, ...],
    new_heads: bool = False,
    allow_pickle: bool = False,
) -> MultiExitEncoder:
    """Build a network to fine-tune on the encoder of any BERT or ElasticBERT checkpoint.

    Poolers and classifiers that the checkpoint has at `exit_layers` are kept; the others start
    at random, and all of them where `new_heads` is set.

    Raises:
        InvalidConfig: the exits do not fit the encoder, or config.json is missing or broken.
        InvalidCheckpoint: a weight of the encoder is missing or of the wrong shape, or the
            checkpoint's classifiers have another number of classes.
    """
    config = read_config(folder, exit_layers=exit_layers, labels=labels)
    network = MultiExitEncoder(config)
    state = {name: value for name, value in network.state_dict().items() if is_head(name)}
    for name, tensor in read_state(folder, config, allow_pickle=allow_pickle).items():
        if not is_head(name) or (name in state and not new_heads):
            state[name] = tensor
    _check_state(state, network, where=str(folder))
    network.load_state_dict(state)
    return network


def read_state(
    folder: Path, config: ModelConfig, *, allow_pickle: bool = False
) -> dict[str, torch.Tensor]:
    """Read a folder's weights, as they are stored, under our names.

    Raises:
        InvalidCheckpoint: the file is missing or broken, or has names that are not BERT's.
    """
    path = _weights_path(folder, allow_pickle=allow_pickle)
    try:
        if path.name == WEIGHTS:
            state = safetensors.torch.load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError) as error:
        first_line = str(error).strip().partition("\n")[0]
        raise InvalidCheckpoint(f"{path}: cannot be read: {first_line}") from error
    names = key_map(state, layers=config.num_hidden_layers, where=str(path))
    return {ours: state[published] for published, ours in names.items()}


def check_tokenizer(tokenizer: Tokenizer, config: ModelConfig, *, where: str) -> None:
    """Make sure that the tokenizer gives what the network reads: [CLS] .. [SEP], known ids only.

    Raises:
        InvalidCheckpoint: it does not.
    """
    highest = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=0)
    if highest >= config.vocab_size:
        raise InvalidCheckpoint(
            f"{where}: the tokenizer gives ids up to {highest}, "
            f"the network has embeddings 0..{config.vocab_size - 1}"
        )
    empty = tokenizer.encode("")
    frame = [t for t, seen in zip(empty.tokens, empty.attention_mask, strict=True) if seen]
    if frame != [FIRST, LAST]:
        raise InvalidCheckpoint(
            f"{where}: the tokenizer makes {' '.join(frame) or 'nothing'} of an empty text, "
            f"expected {FIRST} {LAST}, between which every text must stand"
        )


def save_model(network: MultiExitEncoder, tokenizer: Tokenizer, folder: Path) -> None:
    """Write a model folder with fp16 weights, one file after the other."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {
        name: value.detach().to("cpu", torch.float16).contiguous()
        for name, value in network.state_dict().items()
    }
    # Not save_file: that makes a file which only its owner can read.
    (folder / WEIGHTS).write_bytes(safetensors.torch.save(state, metadata={"format": "pt"}))
    (folder / "config.json").write_text(network.config.to_json() + "\n", encoding="utf-8")
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.save(str(folder / TOKENIZER))


def fingerprint(folder: Path) -> str:
    """Return 16 hex digits over weights, tokenizer, labels, exits: what makes counters comparable.

    Raises:
        ModelError: a file of the folder is missing or broken.
    """
    config = read_config(folder)
    digest = hashlib.sha256(repr((config.exit_layers, config.labels)).encode())
    for path in (_weights_path(folder, allow_pickle=True), tokenizer_path(folder)):
        try:
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        except OSError as error:
            raise InvalidCheckpoint(f"{path}: cannot be read: {error.strerror}") from error
    return digest.hexdigest()[:16]


def _weights_path(folder: Path, *, allow_pickle: bool) -> Path:
    path, old = folder / WEIGHTS, folder / OLD_WEIGHTS
    if path.exists() or not old.exists():
        return path
    if not allow_pickle:
        raise InvalidCheckpoint(
            f"{old}: is in the old pickle format, which is read with --allow-bin only; "
            f"`offramp model export {folder} --out NEW --allow-bin` writes a folder for every use"
        )
    return old


def _check_state(state: dict[str, torch.Tensor], network: MultiExitEncoder, *, where: str) -> None:
    wanted = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    for problem, names in (
        ("missing", sorted(wanted.keys() - state.keys())),
        ("not part of this network", sorted(state.keys() - wanted.keys())),
    ):
        if names:
            raise InvalidCheckpoint(f"{where}: {problem}: {listed(names)}")
    for name, shape in wanted.items():
        found = tuple(state[name].shape)
        if name.startswith("classifiers.") and found[:1] != shape[:1]:
            labels = network.config.labels
            raise InvalidCheckpoint(
                f"{where}: {name} has {found[0]} classes, expected {len(labels)}: "
                f"{', '.join(labels)} (--new-heads starts classifiers afresh)"
            )
        if found != shape:
            raise InvalidCheckpoint(f"{where}: {name} has shape {found}, expected {shape}")


def _numbers(layers: tuple[int, ...]) -> str:
    return ", ".join(map(str, layers))
