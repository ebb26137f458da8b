"""Packing a micro-batch: tokens end to end, the texts that run deepest first."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch

from model.tokeniser import Tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

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
    runs: tuple[tuple[int, int, int], ...]  # (exit, first text, end) of texts with one exit
    blocks: tuple[tuple[int, int, int], ...]  # the same of texts whose heads run as one product

    def stages_together(self) -> Iterator[list[Stage]]:
        """Yield the stages in runs, none of whose texts end before the last stage of a run."""
        together: list[Stage] = []
        for stage in self.stages:
            together.append(stage)
            if stage.ending_texts:
                yield together
                together = []


def rounded(tokens: int) -> int:
    """Return `tokens` rounded up to one of few row counts: 64 up to 4,096, 16 for each doubling on.

    oneDNN builds a kernel for every row count that it meets, for each of a layer's five products.
    A kernel takes a millisecond to build, and up to 0.7 MB for as long as the process lives. The
    filler is 4 % of the rows on average, 2 % above 1,024.
    """
    doublings = max(0, (tokens - 1).bit_length() - _FINEST_BITS)
    step = 16 << doublings if tokens <= _FEW else 8 << doublings
    return -(-tokens // step) * step


def packing_order(lengths: NDArray[np.int64], exits: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return text numbers by exit (deepest first), then by length (longest first)."""
    return np.lexsort((-lengths, -exits))


def repack(
    lengths: NDArray[np.int64],
    texts: NDArray[np.int64],
    exits: NDArray[np.int64],
    *,
    exit_layers: Sequence[int],
    device: torch.device,
) -> Packed:
    """Lay out some texts of a batch anew; its `token_ids` are their rows in the batch before.

    Args:
        lengths: of all texts of the batch.
        texts: which of them stay, in their order.
        exits: where each of these ends.
        exit_layers: the layer of each exit, from 1.
        device: where the tensors go.
    """
    starts = np.concatenate(([0], np.cumsum(lengths)))
    rows = Tokens(np.arange(starts[-1], dtype=np.int32), starts, ())
    return pack(rows, texts, exits, exit_layers=exit_layers, device=device)


def runs_of(*columns: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Return where each run of equal values begins and ends."""
    changes = np.logical_or.reduce([np.diff(column) != 0 for column in columns])
    ends = (np.flatnonzero(changes) + 1).tolist()
    return list(pairwise([0, *ends, len(columns[0])]))


def pack(
    tokens: Tokens,
    rows: NDArray[np.int64],
    exits: NDArray[np.int64],
    *,
    exit_layers: Sequence[int],
    device: torch.device,
) -> Packed:
    """Lay out texts for the encoder.

    Args:
        tokens: what the tokeniser made of all texts.
        rows: the texts to take, at least one, in packing order.
        exits: where each of them ends, deepest first.
        exit_layers: the layer of each exit, from 1.
        device: where the tensors go; to a GPU in a single copy that nobody waits for.
    """
    on_cpu = device.type == "cpu"
    rows_for = rounded if on_cpu else int
    lengths = tokens.lengths[rows]
    starts = np.concatenate(([0], np.cumsum(lengths)))
    count = int(starts[-1])
    ids = np.zeros(rows_for(count), dtype=np.int32)
    places = np.zeros_like(ids)
    places[:count] = np.arange(count) - np.repeat(starts[:-1], lengths)
    ids[:count] = tokens.flat[places[:count] + np.repeat(tokens.starts[rows], lengths)]
    deepest = int(exits[0])
    running = np.searchsorted(-exits, -np.arange(deepest + 2), side="right").tolist()
    plans = list(pairwise(running))  # (texts, staying texts) of each exit
    queries = [
        np.concatenate((starts[: staying + 1], starts[staying] + np.arange(1, texts - staying + 1)))
        for texts, staying in plans
    ]
    token_ids, positions, all_starts, *query_starts = to_device(
        [ids, places, starts, *queries], device
    )
    longest = np.maximum.accumulate(lengths).tolist()
    begins = starts.tolist()
    stages = [
        Stage(
            first_layer=exit_layers[exit_ - 1] + 1 if exit_ else 1,
            last_layer=exit_layers[exit_],
            texts=texts,
            tokens=begins[texts],
            staying_texts=staying,
            staying_tokens=begins[staying],
            longest=longest[texts - 1],
            longest_staying=longest[staying - 1] if staying else 0,
            kept_rows=rows_for(begins[staying] + texts - staying),
            staying_rows=rows_for(begins[staying]),
            query_starts=query_starts[exit_],
        )
        for exit_, (texts, staying) in enumerate(plans)
    ]
    runs = tuple((int(exits[first]), first, end) for first, end in runs_of(exits))
    return Packed(
        token_ids=token_ids,
        positions=positions,
        starts=all_starts,
        spans=tuple(
            Span(first, end - first, begins[first], begins[first + 1] - begins[first])
            for first, end in runs_of(exits, lengths)
        ),
        stages=tuple(stages),
        runs=runs,
        # A GPU takes longer to be told of several products than to run one that is larger.
        blocks=runs if on_cpu else ((deepest, 0, len(rows)),),
    )


def to_device(parts: Sequence[NDArray[np.integer]], device: torch.device) -> list[Tensor]:
    """Return each part as int32; all of them travel as one block, to a GPU from pinned memory.

    Torch keeps pinned blocks for the next batches.
    """
    sizes = [len(part) for part in parts]
    flat = torch.empty(sum(sizes), dtype=torch.int32, pin_memory=device.type == "cuda")
    np.concatenate(parts, out=flat.numpy(), casting="same_kind")
    return list(torch.split(flat.to(device, non_blocking=True), sizes))


def on_host(answers: Tensor) -> Callable[[], NDArray[np.float32]]:
    """Return the function that waits for a device's answers on the host."""
    if not answers.is_cuda:
        return answers.numpy
    host = torch.empty_like(answers, device="cpu", pin_memory=True)
    host.copy_(answers, non_blocking=True)
    done = torch.cuda.Event()  # type: ignore[no-untyped-call]
    done.record()

    def wait() -> NDArray[np.float32]:
        done.synchronize()
        return host.numpy()

    return wait
