"""Weights in 8 bits: how a file stores them, and how they become floats again.

The metadata of such a file has `storage`: `int8-rows` and `storage_version`: `1`. A matrix NAME is
two tensors: NAME.int8 (rows, columns), and NAME.scale (rows) in fp32. Row i is
NAME.int8[i] * NAME.scale[i]. All else is stored in fp16: vectors, and the embeddings of positions
and segments. These two are small, and an error in them would be added to every token.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from model.errors import InvalidCheckpoint
from model.folder_files import Store, plain, shown

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

_NAME, _VERSION = "int8-rows", "1"
_KIND, _KIND_VERSION = "storage", "storage_version"  # keys of the metadata
_INT8, _SCALE = ".int8", ".scale"
_MOST = 127
_EXACT = ("position_embeddings.weight", "token_type_embeddings.weight")  # ends of names
_CURE = "; store the original again with `offramp model export ORIGINAL --out NEW --store int8`"


@dataclass(frozen=True, slots=True)
class RowErrors:
    """How far the rows of a model's matrices moved: |stored - original| / |original| of a row."""

    mean: float
    largest: float
    largest_in: str  # the matrix
    largest_row: int


def stored(state: Mapping[str, Tensor], store: Store) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors of a file that stores these weights, and its metadata."""
    tensors: dict[str, Tensor] = {}
    for name, given in state.items():
        value = given.detach().cpu()
        matrix = value.dim() == 2 and not name.endswith(_EXACT)  # noqa: PLR2004
        if matrix and store is Store.INT8:
            tensors[name + _INT8], tensors[name + _SCALE] = _rounded(value.float())
        else:
            tensors[name] = value.to(torch.float16).contiguous()
    metadata = {"format": "pt"}
    if store is Store.INT8:
        metadata |= {_KIND: _NAME, _KIND_VERSION: _VERSION}
    return tensors, metadata


def restored(
    tensors: Mapping[str, Tensor], metadata: Mapping[str, str], *, path: Path
) -> dict[str, Tensor]:
    """Return the weights of a file under their own names, with matrices in 8 bits as fp32.

    Raises:
        InvalidCheckpoint: the file has a storage that this version cannot read, or a matrix without
            a scale for each of its rows.
    """
    kind, version = metadata.get(_KIND), metadata.get(_KIND_VERSION)
    packed = {name.removesuffix(_INT8) for name in tensors if name.endswith(_INT8)}
    if kind is None:
        if packed:
            raise InvalidCheckpoint(
                f"{path}: has {plain(min(packed) + _INT8)}, but its metadata does not say "
                f"{_KIND} {_NAME}{_CURE}"
            )
        return dict(tensors)
    if (kind, version) != (_NAME, _VERSION):
        raise InvalidCheckpoint(
            f"{path}: its metadata says {_KIND} {shown(kind)}, {_KIND_VERSION} {shown(version)}, "
            f"but this version of Offramp reads {_NAME}, {_VERSION}; update Offramp, or export the "
            "model as fp16 where it was made"
        )
    state = {}
    for name, value in tensors.items():
        if name.endswith(_INT8):
            name = name.removesuffix(_INT8)  # noqa: PLW2901
            state[name] = _matrix(name, value, tensors.get(name + _SCALE), path=path)
        elif not (name.endswith(_SCALE) and name.removesuffix(_SCALE) in packed):
            state[name] = value
    if len(state) + len(packed) != len(tensors):
        twice = min(packed & tensors.keys())
        raise InvalidCheckpoint(f"{path}: {plain(twice)} is there both in 8 bits and not{_CURE}")
    return state


def storage(metadata: Mapping[str, str]) -> Store:
    """Return how a file that can be read stores its matrices."""
    return Store.INT8 if _KIND in metadata else Store.FP16


def row_errors(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> RowErrors:
    """Compare each row of the matrices with what it was."""
    found = {
        name: (after[name] - value).norm(dim=1) / value.norm(dim=1).clamp_min(1e-30)
        for name, value in before.items()
        if value.dim() == 2  # noqa: PLR2004  (a matrix)
    }
    worst = max(found, key=lambda name: found[name].max().item())
    return RowErrors(
        mean=torch.cat(list(found.values())).mean().item(),
        largest=found[worst].max().item(),
        largest_in=worst,
        largest_row=int(found[worst].argmax()),
    )


def _rounded(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Return a matrix in 8 bits and the scale of each row, whose largest number becomes 127."""
    scale = matrix.abs().amax(1) / _MOST  # (rows)
    steps = matrix / torch.where(scale > 0, scale, 1.0)[:, None]
    return steps.round().clamp(-_MOST, _MOST).to(torch.int8), scale


def _matrix(name: str, value: Tensor, scale: Tensor | None, *, path: Path) -> Tensor:
    def wrong(what: str, found: object, expected: str) -> InvalidCheckpoint:
        return InvalidCheckpoint(f"{path}: {plain(what)} is {found}, expected {expected}{_CURE}")

    if value.dtype != torch.int8 or value.dim() != 2:  # noqa: PLR2004  (a matrix)
        raise wrong(name + _INT8, f"{tuple(value.shape)} of {value.dtype}", "a matrix of int8")
    rows = value.shape[0]
    if scale is None or scale.shape != (rows,) or scale.dtype != torch.float32:
        kind = "missing" if scale is None else f"{tuple(scale.shape)} of {scale.dtype}"
        raise wrong(name + _SCALE, kind, f"{rows} numbers of float32, one for each row")
    usable = torch.isfinite(scale * -128) & (scale >= 0)
    if not usable.all():
        row = int((~usable).nonzero()[0])
        raise wrong(name + _SCALE, f"{scale[row].item():g} in row {row}", "a finite number from 0")
    return value.float() * scale[:, None]
