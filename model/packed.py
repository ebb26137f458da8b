"""Packing a micro-batch: tokens end to end, the texts that run deepest first."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate, chain, groupby
from operator import neg
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

_FINEST_BITS = 8  # up to 128 rows and to 256 there are eight steps of 16, then eight a doubling
_FEW = 1024  # rows; from here on filler costs more than kernels: sixteen steps a doubling


@dataclass(frozen=True, slots=True)
class Span:
    """Neighbouring texts of one length and one exit: they attend as one dense block."""

    first_text: int
    texts: int
    first_token: int
    length: int


@dataclass(frozen=True, slots=True)
class Stage:
    """The layers up to one exit, from the exit before it: the same texts run through all of them.

    In the stage's last layer the texts that go on (`staying`, a prefix) are computed in full; of
    those that end there only the first token is.
    """

    first_layer: int  # 1-based, as `last_layer`, which carries the exit
    last_layer: int
    texts: int
    tokens: int
    staying_texts: int
    staying_tokens: int
    longest: int
    longest_staying: int
    kept_rows: int  # of the last layer's output: kept tokens, with filler
    staying_rows: int  # of the next stage's input, with filler
    query_starts: Tensor  # (texts + 1), int32: the last layer's queries, all or one for each text

    @property
    def ending_texts(self) -> int:
        """How many texts stop at this stage's exit."""
        return self.texts - self.staying_texts


@dataclass(frozen=True, slots=True)
class Packed:
    """A micro-batch on the device: texts ordered by exit (deepest first), then by length."""

    token_ids: Tensor  # (rows), end to end; on a CPU with filler behind the last one
    positions: Tensor  # (rows)
    starts: Tensor  # (texts + 1), int32: where each text begins; the last entry is the end
    spans: tuple[Span, ...]
    stages: tuple[Stage, ...]  # exits 0..deepest
    blocks: tuple[tuple[int, int, int], ...]  # (exit, first text, end) of texts with one exit


def rounded(tokens: int) -> int:
    """Return `tokens` rounded up to one of few row counts: 64 up to 4,096, 16 for each doubling on.

    oneDNN builds a kernel for every row count that it meets, for each of a layer's five products.
    A kernel takes a millisecond to build, and up to 0.7 MB for as long as the process lives. The
    filler is 4 % of the rows on average, 2 % above 1,024.
    """
    doublings = max(0, (tokens - 1).bit_length() - _FINEST_BITS)
    step = 16 << doublings if tokens <= _FEW else 8 << doublings
    return -(-tokens // step) * step


def packing_order(lengths: Sequence[int], exits: Sequence[int]) -> list[int]:
    """Return text numbers by exit (deepest first), then by length (longest first)."""
    return sorted(range(len(lengths)), key=lambda i: (-exits[i], -lengths[i]))


def pack(
    rows: Sequence[Sequence[int]],
    exits: Sequence[int],
    *,
    exit_layers: Sequence[int],
    device: torch.device,
) -> Packed:
    """Lay out texts for the encoder.

    Args:
        rows: token ids of each text, at least one text, in packing order.
        exits: where each text ends, deepest first.
        exit_layers: the layer of each exit, from 1.
        device: where the tensors go; to a GPU in a single copy that nobody waits for.
    """
    lengths = [len(row) for row in rows]
    starts = [0, *accumulate(lengths)]
    rows_for = rounded if device.type == "cpu" else int
    tokens = starts[-1]
    ids = np.zeros(rows_for(tokens), dtype=np.int32)
    ids[:tokens] = np.fromiter(chain.from_iterable(rows), dtype=np.int32, count=tokens)
    places = np.zeros_like(ids)
    places[:tokens] = np.arange(tokens) - np.repeat(starts[:-1], lengths)
    parts = [ids, places, np.array(starts, dtype=np.int32)]
    plans = []
    for exit_ in range(exits[0] + 1):
        texts, staying = (bisect_right(exits, -least, key=neg) for least in (exit_, exit_ + 1))
        plans.append((texts, staying))
        ending = starts[staying] + np.arange(1, texts - staying + 1)
        parts.append(np.concatenate((starts[: staying + 1], ending)).astype(np.int32))
    token_ids, positions, all_starts, *queries = _to_device(parts, device)
    stages = [
        Stage(
            first_layer=exit_layers[exit_ - 1] + 1 if exit_ else 1,
            last_layer=exit_layers[exit_],
            texts=texts,
            tokens=starts[texts],
            staying_texts=staying,
            staying_tokens=starts[staying],
            longest=max(lengths[:texts]),
            longest_staying=max(lengths[:staying], default=0),
            kept_rows=rows_for(starts[staying] + texts - staying),
            staying_rows=rows_for(starts[staying]),
            query_starts=queries[exit_],
        )
        for exit_, (texts, staying) in enumerate(plans)
    ]
    return Packed(
        token_ids=token_ids,
        positions=positions,
        starts=all_starts,
        spans=_spans(lengths, exits, starts),
        stages=tuple(stages),
        blocks=_blocks(exits),
    )


def _spans(lengths: Sequence[int], exits: Sequence[int], starts: Sequence[int]) -> tuple[Span, ...]:
    spans = []
    text = 0
    for (_, length), group in groupby(zip(exits, lengths, strict=True)):
        texts = sum(1 for _ in group)
        spans.append(Span(text, texts, starts[text], length))
        text += texts
    return tuple(spans)


def _blocks(exits: Sequence[int]) -> tuple[tuple[int, int, int], ...]:
    blocks = []
    text = 0
    for exit_, group in groupby(exits):
        end = text + sum(1 for _ in group)
        blocks.append((exit_, text, end))
        text = end
    return tuple(blocks)


def _to_device(parts: Sequence[NDArray[np.int32]], device: torch.device) -> list[Tensor]:
    """Return each part as a tensor; all of them travel as one block of pinned memory."""
    flat = torch.from_numpy(np.concatenate(parts))
    if device.type == "cuda":
        flat = flat.pin_memory().to(device, non_blocking=True)
    return list(torch.split(flat, [len(part) for part in parts]))
