"""CUDA graphs of the layers between two exits: few tokens wait for launches, not for the GPU."""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from model.packed import Packed

if TYPE_CHECKING:
    from torch import Tensor

    from model.encoder import PackedLayer
    from model.packed import Stage

_LOG = logging.getLogger("offramp.engine")
_ROWS = (128, 256, 512, 768, 1024, 1536, 2048, 3072)  # beyond, the GPU takes longer than launching
_ROWS_A_TEXT = 4  # graphs are laid out for a quarter as many texts as rows
_SHORT = 128  # tokens: up to here attention looks at one tile, else at a text of all positions
_MOST = 64  # graphs; each keeps up to 14 MB for BERT-base
_ENOUGH = 2  # how often a size must be met before it is worth a graph

Body = Callable[[], tuple["Tensor", "Tensor"]]
Capture = Callable[[Body], tuple[Callable[[], None], tuple["Tensor", "Tensor"]]]


@dataclass(frozen=True, slots=True)
class Size:
    """What a graph is laid out for: any stage of at most as much runs in it, filled up."""

    first_layer: int
    last_layer: int
    rows: int
    texts: int
    longest: int

    @classmethod
    def of(cls, stage: Stage, *, positions: int) -> Size | None:
        """Return the smallest that holds a stage and one row more, None where there is none."""
        at = bisect_right(_ROWS, stage.tokens)
        if at == len(_ROWS):
            return None
        rows = _ROWS[at]
        if stage.texts > rows // _ROWS_A_TEXT:
            return None
        longest = _SHORT if stage.longest <= _SHORT else positions
        return cls(stage.first_layer, stage.last_layer, rows, rows // _ROWS_A_TEXT, longest)


@dataclass(frozen=True, slots=True)
class Recorded:
    """A graph with the memory it reads and writes."""

    replay: Callable[[], None]
    x: Tensor  # (rows, D)
    starts: Tensor  # (texts + 1)
    out: Tensor  # (rows, D)
    firsts: Tensor  # (texts, D)


class Graphs:
    """Records the layers of a stage once for each size, and replays them in one launch.

    All rows are computed in all layers, first tokens are taken from them: what a graph saves is
    worth more than the fifth of a last layer.
    """

    def __init__(
        self, layers: Sequence[PackedLayer], *, positions: int, capture: Capture | None = None
    ) -> None:
        """Take the layers, whose attention must be one over offsets."""
        self._layers = layers
        self._positions = positions
        self._capture = capture or _on_gpu()
        self._met: Counter[Size] = Counter()
        self._recorded: dict[Size, Recorded] = {}

    @property
    def count(self) -> int:
        """How many graphs there are."""
        return len(self._recorded)

    def run(self, x: Tensor, batch: Packed, stage: Stage) -> tuple[Tensor, Tensor] | None:
        """Return the hidden states of the texts that go on, and the first tokens of all.

        Both are valid up to the next run. None means that the stage is to be run without a graph.
        """
        size = Size.of(stage, positions=self._positions)
        if size is None:
            return None
        recorded = self._recorded.get(size) or self._record(size, x, stage)
        if recorded is None:
            return None
        recorded.x[: stage.tokens].copy_(x[: stage.tokens])
        recorded.starts.fill_(stage.tokens)  # texts that are not there are empty
        starts = batch.starts[: stage.texts]
        recorded.starts[: stage.texts].copy_(starts)
        recorded.replay()
        return recorded.out[: stage.staying_tokens], recorded.firsts[: stage.texts]

    def _record(self, size: Size, like: Tensor, stage: Stage) -> Recorded | None:
        self._met[size] += 1
        if self._met[size] != _ENOUGH or len(self._recorded) == _MOST:
            return None
        x = like.new_zeros(size.rows, like.shape[1])
        starts = torch.zeros(size.texts + 1, dtype=torch.int32, device=like.device)
        batch = Packed(x, x, starts, spans=(), stages=(), runs=(), blocks=())
        filled = replace(stage, tokens=size.rows, texts=size.texts, longest=size.longest)

        def body() -> tuple[Tensor, Tensor]:
            out = x
            for layer in self._layers[size.first_layer - 1 : size.last_layer]:
                out = layer.run(out, batch, filled, last=False)
            return out, out.index_select(0, starts[:-1])

        try:
            replay, (out, firsts) = self._capture(body)
        except Exception as error:  # noqa: BLE001  (whatever forbids a graph, the stage runs without)
            _LOG.warning(
                "no_graph rows=%d reason=%s", size.rows, " ".join(str(error).split())[:200]
            )
            return None
        self._recorded[size] = Recorded(replay, x, starts, out, firsts)
        return self._recorded[size]


def _on_gpu() -> Capture:
    pool = torch.cuda.graph_pool_handle()

    def capture(body: Body) -> tuple[Callable[[], None], tuple[Tensor, Tensor]]:
        body()  # loads kernels, which must not happen while a graph is recorded
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
            results = body()
        return graph.replay, results

    return capture
