"""The weights of a checkpoint: the files that hold them, and the names that they have.

They are in one file or several, as safetensors or in the old pickle format. Safetensors may hold
matrices in 8 bits, as `model.checkpoint.storage` says. Our names are those of the published
ElasticBERT classifiers, so most rules only add a prefix:

    published                                         here
    [bert.|elasticbert.]embeddings.*                  elasticbert.embeddings.*
    [bert.|elasticbert.]encoder.layer.N.*             elasticbert.encoder.layer.N.*
    [elasticbert.]encoder.pooler.I.dense.*            elasticbert.encoder.pooler.I.dense.*
    [bert.]pooler.dense.*                             elasticbert.encoder.pooler.{last}.dense.*
    classifiers.I.*                                   classifiers.I.*
    classifier.*                                      classifiers.{last}.*
    *.LayerNorm.gamma, *.LayerNorm.beta               *.LayerNorm.weight, *.LayerNorm.bias
    *.position_ids, predictions.*, sop_classifier.*,
    cls.*                                             dropped: pre-training heads and a constant

N and I are 0-based layers; {last} is the last one. A pooler and a classifier make an exit.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import safetensors
import safetensors.torch
import torch

from model.checkpoint.storage import restored, storage
from model.errors import InvalidCheckpoint
from model.folder_files import (
    INDEX,
    OLD_WEIGHTS,
    WEIGHTS,
    Store,
    check_regular,
    plain,
    read_object,
    shown,
    told_as,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")
_SHOWN = 4
_RULES = tuple(
    (re.compile(pattern), ours)
    for pattern, ours in (
        (r"(?:bert\.|elasticbert\.)?embeddings\.position_ids", None),
        (r"(?:predictions|sop_classifier|cls)\..+", None),
        (
            r"(?:bert\.|elasticbert\.)?(embeddings\..+|encoder\.layer\.[0-9]{1,4}\..+)",
            r"elasticbert.\1",
        ),
        (r"(?:elasticbert\.)?(encoder\.pooler\.[0-9]{1,4}\.dense\..+)", r"elasticbert.\1"),
        (r"(?:bert\.)?pooler\.(dense\..+)", r"elasticbert.encoder.pooler.{last}.\1"),
        (r"(classifiers\.[0-9]{1,4}\..+)", r"\1"),
        (r"classifier\.(.+)", r"classifiers.{last}.\1"),
    )
)


def weight_files(folder: Path, *, allow_pickle: bool) -> tuple[Path, ...]:
    """Return the files that hold a folder's weights; safetensors if it has both kinds.

    Raises:
        InvalidCheckpoint: there are none, or old ones that may not be read, or an index of files
            is broken.
    """
    for name in (WEIGHTS, OLD_WEIGHTS):
        whole, index = folder / name, folder / (name + INDEX)
        if not whole.exists() and not index.exists():
            continue
        if name == OLD_WEIGHTS and not allow_pickle:
            raise InvalidCheckpoint(
                f"{whole if whole.exists() else index}: is in the old pickle format, which is read "
                f"with --allow-bin only; `offramp model export {folder} --out NEW --allow-bin` "
                "writes a folder for every use"
            )
        return (whole,) if whole.exists() else tuple(_shards(index))
    raise InvalidCheckpoint(f"{folder / WEIGHTS}: cannot be read: No such file or directory")


def read_weights(folder: Path, *, allow_pickle: bool) -> dict[str, torch.Tensor]:
    """Return a folder's tensors under the names they have there.

    Raises:
        InvalidCheckpoint: a file is missing or broken, or holds something else.
    """
    files = weight_files(folder, allow_pickle=allow_pickle)
    state: dict[str, torch.Tensor] = {}
    for path in files:
        part = _read(path)
        if twice := sorted(state.keys() & part.keys()):
            raise InvalidCheckpoint(f"{path}: another file has the same weights: {listed(twice)}")
        state |= part
    return state


def stores_of(folder: Path, *, allow_pickle: bool) -> set[Store]:
    """Return how the files of a folder, which `read_weights` can read, store their matrices."""
    files = weight_files(folder, allow_pickle=allow_pickle)
    return {storage(_metadata(path)) for path in files}


def key_map(names: Iterable[str], *, layers: int, where: str) -> dict[str, str]:
    """Return our name for each published one; dropped names are left out.

    >>> key_map(["bert.pooler.dense.bias", "classifier.bias", "cls.bias"], layers=12, where="file")
    {'bert.pooler.dense.bias': 'elasticbert.encoder.pooler.11.dense.bias', 'classifier.bias': 'classifiers.11.bias'}

    Args:
        names: every name in the checkpoint.
        layers: how many the network has.
        where: names the checkpoint in errors.

    Raises:
        InvalidCheckpoint: names that no rule knows, or two names for the same weight.
    """  # noqa: E501  (a doctest's output cannot be wrapped)
    mapped: dict[str, str] = {}
    taken: dict[str, str] = {}
    unknown: list[str] = []
    for name in sorted(names):
        rule = next(((m, ours) for p, ours in _RULES if (m := p.fullmatch(name))), None)
        if rule is None:
            unknown.append(name)
            continue
        match, template = rule
        if template is None:
            continue
        ours = match.expand(template).replace("{last}", str(layers - 1))
        ours = ours.replace("LayerNorm.gamma", "LayerNorm.weight")
        ours = ours.replace("LayerNorm.beta", "LayerNorm.bias")
        if ours in taken:
            raise InvalidCheckpoint(
                f"{where}: {plain(taken[ours])} and {plain(name)} are the same weight, "
                f"{plain(ours)}"
            )
        mapped[name] = ours
        taken[ours] = name
    if unknown:
        raise InvalidCheckpoint(f"{where}: not part of a BERT or ElasticBERT: {listed(unknown)}")
    return mapped


def exit_layers(names: Iterable[str]) -> tuple[int, ...]:
    """Return the 1-based layers that have a classifier, shallowest first.

    >>> exit_layers(["classifiers.0.weight", "classifiers.2.weight", "classifiers.2.bias"])
    (1, 3)
    """
    return tuple(sorted({int(n.split(".")[1]) + 1 for n in names if n.startswith("classifiers.")}))


def is_head(name: str) -> bool:
    """Tell whether a weight, by our name, belongs to an exit and not to the encoder."""
    return name.startswith(("classifiers.", "elasticbert.encoder.pooler."))


def listed(names: list[str]) -> str:
    """Return the first few names and how many more there are."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(map(plain, names[:_SHOWN])) + more


def _shards(index: Path) -> list[Path]:
    """Return the files that an index names."""
    weights = read_object(index, error=InvalidCheckpoint).get("weight_map")
    if not isinstance(weights, dict) or not weights:
        raise InvalidCheckpoint(
            f"{index}: weight_map is {shown(weights)}, expected the file of every weight"
        )
    suffix = index.name.removesuffix(INDEX).rpartition(".")[2]
    for weight, name in weights.items():
        if not (
            isinstance(name, str) and _FILE_NAME.fullmatch(name) and name.endswith(f".{suffix}")
        ):
            raise InvalidCheckpoint(
                f"{index}: weight_map has {shown(name)} for {plain(weight)}, "
                f"expected the name of a .{suffix} file in the same folder"
            )
    return [index.parent / name for name in sorted(set(weights.values()))]


def _read(path: Path) -> dict[str, torch.Tensor]:
    check_regular(path, error=InvalidCheckpoint)
    with told_as(InvalidCheckpoint, path):
        if path.suffix == ".safetensors":
            part = restored(safetensors.torch.load_file(path), _metadata(path), path=path)
        else:
            part = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(part, dict):
        raise InvalidCheckpoint(f"{path}: holds a {type(part).__name__}, expected named weights")
    for name, tensor in part.items():
        usable = isinstance(tensor, torch.Tensor) and tensor.layout == torch.strided
        if not isinstance(name, str) or not usable or tensor.is_quantized or tensor.is_complex():
            raise InvalidCheckpoint(f"{path}: {shown(name)} is not a weight of plain numbers")
    return part


def _metadata(path: Path) -> dict[str, str]:
    if path.suffix != ".safetensors":
        return {}
    with safetensors.safe_open(path, framework="pt") as file:
        return file.metadata() or {}
