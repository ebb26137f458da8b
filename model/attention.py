"""Attention over packed tokens: every text sees itself and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  (torch's own convention)

from model.linear import fastest

if TYPE_CHECKING:
    from model.linear import Race
    from model.packed import Packed, Stage

Attend = Callable[[Tensor, Tensor, Tensor, Tensor], None]

_RACE_LENGTHS = (32, 64, 128, 256)
_CLEARLY = 1.1
_LENGTH_STEP = 8  # tokens
_FLASH_CAPABILITY = (8, 0)  # Ampere; older GPUs have no flash attention


def fused(q: Tensor, k: Tensor, v: Tensor, to: Tensor) -> None:
    """Write attention of q over k and v, all (n, H, t, d), into `to`, (n, t, H, d).

    Queries carry their scale already.
    """
    to.copy_(F.scaled_dot_product_attention(q, k, v, scale=1.0).transpose(1, 2))


def two_products(q: Tensor, k: Tensor, v: Tensor, to: Tensor) -> None:
    """Write the same through plain matrix products, text by text.

    Texts are filled up to a few lengths: oneDNN keeps a kernel of half a megabyte for each.
    """
    queries, length = q.shape[2], k.shape[2]
    if filler := -length % _LENGTH_STEP:
        k, v = (F.pad(x, (0, 0, 0, filler)) for x in (k, v))  # (n, H, t + f, d)
        q = F.pad(q, (0, 0, 0, filler)) if queries == length else q
    for one_q, one_k, one_v, one_to in zip(q, k, v, to, strict=True):
        scores = torch.bmm(one_q, one_k.contiguous().transpose(1, 2))  # (H, tq + f, t + f)
        if filler:
            scores[:, :, length:] = -torch.inf
        one_to.copy_(torch.bmm(scores.softmax(-1), one_v)[:, :queries].transpose(0, 1))


def fastest_attention(dtype: torch.dtype, *, heads: int, size: int, race: Race = fastest) -> Attend:
    """Return fused attention, with products from the length on at which they won a short race."""
    least = next((n for n in _RACE_LENGTHS if _products_win(n, dtype, heads, size, race)), None)
    if least is None:
        return fused

    def chosen(q: Tensor, k: Tensor, v: Tensor, to: Tensor) -> None:
        attend = two_products if q.shape[2] >= least else fused
        attend(q, k, v, to)

    return chosen


def _products_win(length: int, dtype: torch.dtype, heads: int, size: int, race: Race) -> bool:
    x = torch.zeros(1, length, 3, heads, size, dtype=dtype)
    q, k, v = x.unbind(2)
    to = torch.empty_like(q)
    runners = {
        attend.__name__: partial(
            attend, q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), to
        )
        for attend in (fused, two_products)
    }
    return race(runners, margin=_CLEARLY) == two_products.__name__


def by_spans(attend: Attend, *, heads: int) -> Callable[..., Tensor]:
    """Return attention in dense blocks of equally long texts: no padding, no mask, any device."""

    def run(q: Tensor, kv: Tensor, batch: Packed, stage: Stage, *, last: bool) -> Tensor:
        width = q.shape[1]
        size = width // heads
        context = torch.empty_like(q)  # (rows, D)
        used = stage.staying_tokens + stage.ending_texts if last else stage.tokens
        context[used:].zero_()
        for span in batch.spans:
            if span.first_text >= stage.texts:
                break
            n, t = span.texts, span.length
            ending = last and span.first_text >= stage.staying_texts
            at = span.first_token
            if ending:  # one query each, behind the rows of the texts that go on
                at = stage.staying_tokens + span.first_text - stage.staying_texts
            tq = 1 if ending else t
            ours = slice(at, at + n * tq)
            theirs = slice(span.first_token, span.first_token + n * t)
            pair = kv[theirs].view(n, t, 2, heads, size)
            attend(
                q[ours].view(n, tq, heads, size).transpose(1, 2),  # (n, H, tq, d)
                pair[:, :, 0].transpose(1, 2),  # (n, H, t, d)
                pair[:, :, 1].transpose(1, 2),
                context[ours].view(n, tq, heads, size),
            )
        return context

    return run


def takes_offsets(dtype: torch.dtype, *, size: int, capability: tuple[int, int] | None) -> bool:
    """Say whether `by_offsets` runs on heads of `size`; `capability` is the GPU's, None a CPU."""
    flash = capability is not None and capability >= _FLASH_CAPABILITY
    return flash and dtype == torch.bfloat16 and size % 8 == 0


def by_offsets(*, heads: int, attend: Callable[..., Tensor] | None = None) -> Callable[..., Tensor]:
    """Return attention over offsets, by variable-length flash attention if no other is given.

    `attend` takes what `torch.nn.attention.varlen.varlen_attn` does; see `takes_offsets`.
    """
    if attend is None:
        from torch.nn.attention.varlen import varlen_attn  # CPU-only builds lack it

        attend = cast("Callable[..., Tensor]", varlen_attn)

    def run(q: Tensor, kv: Tensor, batch: Packed, stage: Stage, *, last: bool) -> Tensor:
        width = q.shape[1]
        size = width // heads
        rows = q.shape[0]
        pair = kv[: stage.tokens].view(-1, 2, heads, size)
        starts = batch.starts[: stage.texts + 1]
        out = attend(
            q.view(rows, heads, size),
            pair[:, 0],
            pair[:, 1],
            stage.query_starts if last else starts,
            starts,
            max(stage.longest_staying, 1) if last else stage.longest,
            stage.longest,
            scale=1.0,
            num_splits=1,  # else the order of sums, so the rounding, depends on the neighbours
        )
        return out.view(rows, width)

    return run
