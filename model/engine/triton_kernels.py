"""Kernels for a GPU that read and write memory once where torch's do several times."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import torch
import triton
import triton.language as tl

if TYPE_CHECKING:
    from torch import Tensor

    Jit = Callable[[Callable[..., None]], Any]

_jit = cast("Jit", triton.jit)
_TILE = tl.constexpr(64)  # one for every batch: a text's rounding depends on no neighbour
_LOG2_E = tl.constexpr(1.4426950408889634)


@_jit
def _add_norm(
    a, a_rows, b, b_rows, weight, bias, out, width, eps, GATHER: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    a_row = row
    b_row = row
    if GATHER:
        a_row = tl.load(a_rows + row).to(tl.int64)
        b_row = tl.load(b_rows + row).to(tl.int64)
    columns = tl.arange(0, BLOCK)
    inside = columns < width
    x = tl.load(a + a_row * width + columns, mask=inside, other=0.0).to(tl.float32)
    x += tl.load(b + b_row * width + columns, mask=inside, other=0.0).to(tl.float32)
    mean = tl.sum(x, 0) / width
    centred = tl.where(inside, x - mean, 0.0)
    deviation = tl.sqrt(tl.sum(centred * centred, 0) / width + eps)
    w = tl.load(weight + columns, mask=inside, other=0.0).to(tl.float32)
    shift = tl.load(bias + columns, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + row * width + columns, centred / deviation * w + shift, mask=inside)


def add_norm(
    a: Tensor,
    b: Tensor,
    rows: tuple[Tensor, Tensor] | None = None,
    *,
    weight: Tensor,
    bias: Tensor,
    eps: float,
) -> Tensor:
    """Return the layer norm of a + b, both (rows, D), or of the rows of each that `rows` names."""
    width = a.shape[1]
    a_rows, b_rows = (a, b) if rows is None else rows
    out = torch.empty(len(a_rows), width, dtype=a.dtype, device=a.device)
    if len(out):
        _add_norm[len(out),](
            a, a_rows, b, b_rows, weight, bias, out, width, eps,
            GATHER=rows is not None, BLOCK=triton.next_power_of_2(width), num_warps=4,
        )  # fmt: skip
    return out


@_jit
def _attend(
    q, k, v, out, q_starts, k_starts, q_stride, k_stride, v_stride, out_stride, SIZE: tl.constexpr
):  # fmt: skip
    text = tl.program_id(0)
    head = tl.program_id(1)
    q_first = tl.load(q_starts + text).to(tl.int64)
    q_count = tl.load(q_starts + text + 1) - q_first
    first = tl.program_id(2) * _TILE
    if first >= q_count:
        return
    k_first = tl.load(k_starts + text).to(tl.int64)
    k_count = (tl.load(k_starts + text + 1) - k_first).to(tl.int32)
    rows = first + tl.arange(0, _TILE)
    channels = head * SIZE + tl.arange(0, SIZE)
    asked = rows < q_count
    queries = tl.load(
        q + (q_first + rows)[:, None] * q_stride + channels[None, :], mask=asked[:, None], other=0.0
    )
    largest = tl.full([_TILE], -float("inf"), tl.float32)
    total = tl.zeros([_TILE], tl.float32)
    sums = tl.zeros([_TILE, SIZE], tl.float32)
    for start in range(0, k_count, _TILE):
        columns = start + tl.arange(0, _TILE)
        there = columns < k_count
        keys = tl.load(
            k + (k_first + columns)[None, :] * k_stride + channels[:, None],
            mask=there[None, :],
            other=0.0,
        )
        scores = tl.dot(queries, keys) * _LOG2_E
        scores = tl.where(there[None, :], scores, -float("inf"))
        risen = tl.maximum(largest, tl.max(scores, 1))
        shares = tl.exp2(scores - risen[:, None])
        shrink = tl.exp2(largest - risen)
        total = total * shrink + tl.sum(shares, 1)
        values = tl.load(
            v + (k_first + columns)[:, None] * v_stride + channels[None, :],
            mask=there[:, None],
            other=0.0,
        )
        sums = sums * shrink[:, None] + tl.dot(shares.to(values.dtype), values)
        largest = risen
    tl.store(
        out + (q_first + rows)[:, None] * out_stride + channels[None, :],
        sums / total[:, None],
        mask=asked[:, None],
    )


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    q_starts: Tensor,
    k_starts: Tensor,
    longest_q: int,
    longest_k: int,  # noqa: ARG001
) -> Tensor:
    """Attend over offsets, all (tokens, heads, size), in tiles of 64: short texts waste less."""
    out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    texts, heads, size = len(q_starts) - 1, q.shape[1], q.shape[2]
    _attend[texts, heads, triton.cdiv(longest_q, 64)](
        q, k, v, out, q_starts, k_starts,
        q.stride(0), k.stride(0), v.stride(0), out.stride(0), SIZE=size, num_warps=4, num_stages=2,
    )  # fmt: skip
    return out
