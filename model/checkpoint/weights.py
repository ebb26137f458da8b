"""The weights of a checkpoint: one file or several, safetensors or the old pickles."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import safetensors.torch
import torch

from model.checkpoint.key_map import listed
from model.errors import InvalidCheckpoint
from model.folder_files import check_regular, plain, read_object, shown, told_as

if TYPE_CHECKING:
    from pathlib import Path

WEIGHTS = "model.safetensors"
OLD_WEIGHTS = "pytorch_model.bin"
INDEX = ".index.json"  # behind the name of a file that comes in several
HUB_PATTERNS = (WEIGHTS, WEIGHTS + INDEX, "model-*.safetensors")
OLD_HUB_PATTERNS = (OLD_WEIGHTS, OLD_WEIGHTS + INDEX, "pytorch_model-*.bin")
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")


def weight_files(folder: Path, *, allow_pickle: bool) -> tuple[Path, ...]:
    """Return the files that hold a folder's weights; safetensors where it has both kinds.

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
                f"expected the name of a .{suffix} file beside it"
            )
    return [index.parent / name for name in sorted(set(weights.values()))]


def _read(path: Path) -> dict[str, torch.Tensor]:
    check_regular(path, error=InvalidCheckpoint)
    with told_as(InvalidCheckpoint, path):
        if path.suffix == ".safetensors":
            part = safetensors.torch.load_file(path)
        else:
            part = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(part, dict):
        raise InvalidCheckpoint(f"{path}: holds a {type(part).__name__}, expected named weights")
    for name, tensor in part.items():
        usable = isinstance(tensor, torch.Tensor) and tensor.layout == torch.strided
        if not isinstance(name, str) or not usable or tensor.is_quantized or tensor.is_complex():
            raise InvalidCheckpoint(f"{path}: {shown(name)} is no weight of plain numbers")
    return part
