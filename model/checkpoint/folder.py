"""A model folder: config.json, model.safetensors and tokenizer.json, read and written."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict
from typing import TYPE_CHECKING

import safetensors.torch
import torch

from model.calibration import read_calibration
from model.checkpoint.storage import stored
from model.checkpoint.tokenizer import FIRST, LAST, Normalising, load_tokenizer, tokenizer_path
from model.checkpoint.weights import exit_layers as layers_with_classifier
from model.checkpoint.weights import is_head, key_map, listed, read_weights, weight_files
from model.config import ModelConfig, read_config
from model.errors import InvalidCheckpoint, InvalidConfig
from model.folder_files import CONFIG, TOKENIZER, WEIGHTS, Store, check_regular, plain, told_as
from model.network import MultiExitEncoder
from model.wording import counted

if TYPE_CHECKING:
    from pathlib import Path

    from tokenizers import Tokenizer
    from torch import nn

_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_PROBES = ("", "a b, \u00e9\u4e2d\U0001f600 [UNK] zzzzzzzzzzzz")  # pieces known and unknown
_LAYER = re.compile(r"elasticbert\.encoder\.layer\.(\d+)\.")
_SIZES = {  # field of config.json: the weight that has as many, and along which axis
    "vocab_size": ("elasticbert.embeddings.word_embeddings.weight", 0),
    "hidden_size": ("elasticbert.embeddings.word_embeddings.weight", 1),
    "max_position_embeddings": ("elasticbert.embeddings.position_embeddings.weight", 0),
    "type_vocab_size": ("elasticbert.embeddings.token_type_embeddings.weight", 0),
    "intermediate_size": ("elasticbert.encoder.layer.0.intermediate.dense.weight", 0),
}


def load_model(folder: Path, *, allow_pickle: bool = False) -> MultiExitEncoder:
    """Build the classifier a folder holds, in fp32 on the CPU, in evaluation mode.

    Reads what this project writes and the published fine-tuned layouts:
    `model.checkpoint.weights` has them.

    Args:
        folder: config.json and weights.
        allow_pickle: read an old pytorch_model.bin if there is no model.safetensors.

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
            f"{where}: the weights contain no classifiers; "
            f"fine-tune them with `offramp train --from {where}`"
        )
    if found != config.exit_layers:
        raise InvalidCheckpoint(
            f"{where}: num_output_layers of config.json puts exits after layers "
            f"{', '.join(map(str, config.exit_layers))}, "
            f"but the weights have classifiers after layers {', '.join(map(str, found))}"
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
    at random. With `new_heads` all of them do.

    Raises:
        InvalidConfig: the exits do not fit the encoder, or config.json is missing or broken.
        InvalidCheckpoint: a weight of the encoder is missing or of the wrong shape, or the
            checkpoint's classifiers have another number of classes.
    """
    config = read_config(folder, exit_layers=exit_layers, labels=labels)
    state = read_state(folder, config, allow_pickle=allow_pickle)
    network = MultiExitEncoder(config)
    heads = {name: value for name, value in network.state_dict().items() if is_head(name)}
    kept = {
        name: tensor
        for name, tensor in state.items()
        if not is_head(name) or (name in heads and not new_heads)
    }
    _check_state(heads | kept, network, where=str(folder))
    network.load_state_dict(kept, strict=False)
    return network


def read_state(
    folder: Path, config: ModelConfig, *, allow_pickle: bool = False
) -> dict[str, torch.Tensor]:
    """Read a folder's weights under our names.

    Raises:
        InvalidCheckpoint: the file is missing or broken, or has names that are not BERT's.
    """
    published = read_weights(folder, allow_pickle=allow_pickle)
    names = key_map(published, layers=config.num_hidden_layers, where=str(folder))
    state = {ours: published[name] for name, ours in names.items()}
    for name, tensor in state.items():
        if tensor.dtype not in _FLOATS:
            raise InvalidCheckpoint(
                f"{folder}: {plain(name)} is of {tensor.dtype}, expected one of "
                f"{', '.join(map(str, _FLOATS))}"
            )
    _check_sizes(state, config, folder=folder)
    return state


def fitting_tokenizer(folder: Path, config: ModelConfig) -> Tokenizer:
    """Return a folder's tokenizer, which `check_tokenizer` has found to fit the network.

    Raises:
        InvalidCheckpoint: it is missing or broken, or does not fit.
    """
    tokenizer = load_tokenizer(folder)
    check_tokenizer(tokenizer, config, where=str(folder))
    return tokenizer


def check_tokenizer(tokenizer: Tokenizer, config: ModelConfig, *, where: str) -> None:
    """Make sure that the tokenizer gives what the network reads: [CLS] .. [SEP], known ids only.

    Raises:
        InvalidCheckpoint: it does not.
    """
    with told_as(InvalidCheckpoint, where):
        highest = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=0)
        encoded = [tokenizer.encode(text) for text in _PROBES]
    highest = max(highest, *(id_ for found in encoded for id_ in found.ids))
    if highest >= config.vocab_size:
        raise InvalidCheckpoint(
            f"{where}: the tokenizer gives ids up to {highest}, "
            f"but the network has embeddings 0..{config.vocab_size - 1}"
        )
    ends = [tokenizer.token_to_id(name) for name in (FIRST, LAST)]
    if encoded[0].ids != ends or [encoded[1].ids[0], encoded[1].ids[-1]] != ends:
        made = " ".join(plain(token) for token in encoded[0].tokens[:8])
        raise InvalidCheckpoint(
            f"{where}: the tokenizer makes {made or 'nothing'} of an empty text, "
            f"expected {FIRST} {LAST}, around every text"
        )


def save_model(
    network: MultiExitEncoder, tokenizer: Tokenizer, folder: Path, *, store: Store = Store.FP16
) -> None:
    """Write a model folder with weights in fp16, or with matrices in 8 bits."""
    save_parts(network, network.config.to_json(), tokenizer, folder, store=store)


def save_parts(
    network: nn.Module,
    config: str,
    tokenizer: Tokenizer,
    folder: Path,
    *,
    store: Store = Store.FP16,
) -> None:
    """Write a folder of weights, a config.json and a tokenizer, one after the other."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors, metadata = stored(network.state_dict(), store)
    # Not save_file: that makes a file which only its owner can read.
    (folder / WEIGHTS).write_bytes(safetensors.torch.save(tensors, metadata=metadata))
    (folder / CONFIG).write_text(config + "\n", encoding="utf-8")
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.save(str(folder / TOKENIZER))


def fingerprint(folder: Path) -> str:
    """Return 16 hex digits over all of a folder that can change an answer or its meaning.

    These are the weights, the tokenizer with its settings, the labels, the exits, what config.json
    says of the arithmetic, and the temperatures and worths of a calibration: it makes counters
    comparable.

    Raises:
        ModelError: a file of the folder is missing or broken.
    """
    config = read_config(folder)
    said: dict[str, object] = {
        "exit_layers": config.exit_layers,
        "labels": config.labels,
        "num_attention_heads": config.num_attention_heads,
        "layer_norm_eps": float(config.layer_norm_eps),
    }
    tokenizer = tokenizer_path(folder)
    if tokenizer.name != TOKENIZER:  # which would hold them itself
        said |= asdict(Normalising.read(folder))
    calibration = read_calibration(folder, exits=config.exits)
    if calibration is not None:
        said |= {"temperatures": calibration.temperatures, "worth": calibration.worth}
    digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode())
    for path in (*weight_files(folder, allow_pickle=True), tokenizer):
        check_regular(path, error=InvalidCheckpoint)
        with told_as(InvalidCheckpoint, path), path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]


def _check_sizes(state: dict[str, torch.Tensor], config: ModelConfig, *, folder: Path) -> None:
    """Make sure that config.json has the sizes of the weights, before a network is made of it.

    A network without memory, on torch's device "meta", would tell its sizes too, but its first use
    takes three seconds and 150 MB of imports.
    """
    found = {}
    for field, (name, axis) in _SIZES.items():
        if name not in state:
            raise InvalidCheckpoint(f"{folder}: missing: {name}")
        if state[name].dim() != 2:  # noqa: PLR2004  (a matrix)
            shape = tuple(state[name].shape)
            raise InvalidCheckpoint(f"{folder}: {name} has shape {shape}, expected a matrix")
        found[field] = state[name].shape[axis]
    found["num_hidden_layers"] = 1 + max(int(m[1]) for m in map(_LAYER.match, state) if m)
    for field, size in found.items():
        if getattr(config, field) != size:
            raise InvalidConfig(
                f"{folder / CONFIG}: {field} is {getattr(config, field)}, "
                f"but the weights have {size}"
            )


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
        if name.startswith("classifiers.") and found and found[0] != shape[0]:
            labels = list(network.config.labels)
            raise InvalidCheckpoint(
                f"{where}: {name} has {counted(found[0], 'class', 'classes')}, expected "
                f"{len(labels)}: {listed(labels)} (id2label of config.json); "
                "start new classifiers with --new-heads"
            )
        if found != shape:
            raise InvalidCheckpoint(f"{where}: {name} has shape {found}, expected {shape}")
