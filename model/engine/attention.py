"""Attention over packed tokens: every text sees itself and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Container
from functools import partial
from inspect import signature
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  (torch's own convention)

from model.engine.kernels import fastest

if TYPE_CHECKING:
    from model.engine.kernels import Race
    from model.engine.packing import Packed, Stage

Attend = Callable[[Tensor, Tensor, Tensor, Tensor], None]  # of one block of equally long texts
Attention = Callable[..., Tensor]

_RACE_LENGTHS = (32, 64, 128, 256)
_CLEARLY = 1.1
_LENGTH_STEP = 8  # tokens
_FLASH_CAPABILITY = (8, 0)  # Ampere; older GPUs have no flash attention
_NO_EXTRAS = (0.0, False, False)  # dropout, causal, debug mask


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


def by_spans(attend: Attend, *, heads: int) -> Attention:
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


def offset_kernels(dtype: torch.dtype, *, size: int, device: torch.device) -> dict[str, Attention]:
    """Return the kernels over offsets that run here on heads of `size`, the best one first.

    Each takes (q, k, v, query starts, key starts, longest query, longest key) and leaves scores
    unscaled: queries carry their scale. Older GPUs, other precisions and odd heads have none.
    """
    if device.type != "cuda" or dtype != torch.bfloat16 or size % 8:
        return {}
    if torch.cuda.get_device_capability(device) < _FLASH_CAPABILITY:
        return {}
    return kernels_of(_varlen_attn(), getattr(torch.ops.aten, "_flash_attention_forward", None))


def kernels_of(varlen: Attention | None, flash: Any | None) -> dict[str, Attention]:  # noqa: ANN401
    """Return the kernels over offsets that can be made of what this build of torch has.

    None may split the keys of a text over several sums: how it does depends on the neighbours, and
    so would the rounding. A build without `num_splits` splits only where heads share keys.

    Args:
        varlen: torch.nn.attention.varlen.varlen_attn.
        flash: aten's own operator, which `varlen_attn` is made of.
    """
    kernels: dict[str, Attention] = {}
    if varlen is not None and "scale" in (takes := signature(varlen).parameters):
        kernels["varlen"] = partial(varlen, scale=1.0, **_unsplit(takes))
    if flash is not None:
        unsplit = _unsplit([argument.name for argument in flash.default._schema.arguments])  # noqa: SLF001
        kernels["flash"] = lambda *inputs: flash(*inputs, *_NO_EXTRAS, scale=1.0, **unsplit)[0]
    return kernels


def _varlen_attn() -> Attention | None:
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    return cast("Attention", varlen_attn)


def _unsplit(arguments: Container[str]) -> dict[str, int]:
    return {"num_splits": 1} if "num_splits" in arguments else {}


def by_offsets(attend: Attention, *, heads: int) -> Attention:
    """Return attention over offsets through `attend`, one of `offset_kernels`."""

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
        )
        return out.reshape(rows, width)

    return run
