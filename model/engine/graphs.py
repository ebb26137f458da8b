"""CUDA graphs of the layers up to an exit: small batches wait for launches, not for the GPU."""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from model.engine.packing import Packed

if TYPE_CHECKING:
    from torch import Tensor

    from model.engine.encoder import PackedLayer
    from model.engine.packing import Stage

_LOG = logging.getLogger("offramp.engine")
_ROWS = (128, 256, 512, 768, 1024, 1536, 2048, 3072, *range(4096, 12289, 1024))  # tokens
_SHORTEST = 64  # tokens: a text that is shorter is looked at as if it had as many
_FEWEST = 8  # texts, likewise
_MOST = 64  # graphs; each keeps the first tokens of its texts, all share their other memory
_ENOUGH = 2  # how often a size must be met before it is worth a graph

Body = Callable[[], None]
Capture = Callable[[Body], Body]


@dataclass(frozen=True, slots=True)
class Size:
    """What a graph is laid out for: whatever has at most as much runs in it, filled up."""

    first_layer: int
    exit_layers: tuple[int, ...]
    rows: int
    texts: int
    longest: int

    @classmethod
    def of(cls, stages: Sequence[Stage], *, positions: int) -> Size | None:
        """Return the smallest that holds the texts of `stages` and one row more, None if none does.

        Beyond the largest, a GPU takes longer to run the layers than it takes to launch them.
        """
        at = bisect_right(_ROWS, stages[0].tokens)
        if at == len(_ROWS):
            return None
        return cls(
            stages[0].first_layer,
            tuple(stage.last_layer for stage in stages),
            _ROWS[at],
            max(_FEWEST, _doubled(stages[0].texts)),
            min(positions, max(_SHORTEST, _doubled(stages[0].longest))),
        )


@dataclass(frozen=True, slots=True)
class Recorded:
    """A graph, and the memory that it leaves first tokens in."""

    replay: Body
    firsts: Tensor  # (exits, texts, D)


class Graphs:
    """Records layers once for each size, and replays them in one launch.

    All graphs read and write the same hidden states. What they compute between may share memory
    too, so that nothing that outlives a replay may stand there: it is copied out by the graph.

    All rows are computed in all layers, first tokens are taken from them: what a graph saves is
    worth more than the fifth of a last layer.
    """

    def __init__(
        self,
        layers: Sequence[PackedLayer],
        *,
        positions: int,
        like: Tensor,
        capture: Capture | None = None,
    ) -> None:
        """Take the layers, whose attention must be one over offsets.

        Args:
            layers: all of the model.
            positions: how many tokens a text has at most.
            like: a tensor (.., D) of the device and precision of hidden states.
            capture: records a function; by default as a CUDA graph.
        """
        self._layers = layers
        self._positions = positions
        self._capture = capture or _on_gpu()
        self._x = like.new_zeros(_ROWS[-1], like.shape[-1])
        self._starts = like.new_zeros(_doubled(_ROWS[-1]) + 1, dtype=torch.int32)
        self._met: Counter[Size] = Counter()
        self._recorded: dict[Size, Recorded] = {}

    @property
    def count(self) -> int:
        """How many graphs there are."""
        return len(self._recorded)

    def run(
        self, x: Tensor, batch: Packed, stages: Sequence[Stage]
    ) -> tuple[Tensor, list[Tensor]] | None:
        """Return the hidden states of the texts that go on, and the first tokens at each exit.

        All are valid up to the next batch, hidden states up to the next run. None means that the
        layers are to be run one by one.

        Args:
            x: hidden states, (rows, D).
            batch: the micro-batch.
            stages: one after the other, none of whose texts end before the last of them.
        """
        size = Size.of(stages, positions=self._positions)
        if size is None:
            return None
        recorded = self._recorded.get(size) or self._record(size, stages[0])
        if recorded is None:
            return None
        tokens, texts, last = stages[0].tokens, stages[0].texts, stages[-1]
        if x.data_ptr() != self._x.data_ptr():
            self._x[:tokens].copy_(x[:tokens])
        self._starts[texts : size.texts + 1].fill_(tokens)  # texts that are not there are empty
        self._starts[:texts].copy_(batch.starts[:texts])
        recorded.replay()
        return self._x[: last.staying_tokens], [exit_[:texts] for exit_ in recorded.firsts]

    def _record(self, size: Size, stage: Stage) -> Recorded | None:
        self._met[size] += 1
        if self._met[size] != _ENOUGH or len(self._recorded) == _MOST:
            return None
        x, starts = self._x[: size.rows], self._starts[: size.texts + 1]
        batch = Packed(x, x, starts, spans=(), stages=(), runs=(), blocks=())
        filled = replace(stage, tokens=size.rows, texts=size.texts, longest=size.longest)
        firsts = x.new_empty(len(size.exit_layers), size.texts, x.shape[1])

        def body() -> None:
            out = x
            for number in range(size.first_layer, size.exit_layers[-1] + 1):
                out = self._layers[number - 1].run(out, batch, filled, last=False)
                if number in size.exit_layers:
                    at = size.exit_layers.index(number)
                    torch.index_select(out, 0, starts[:-1], out=firsts[at])
            x.copy_(out)

        before = x.clone()  # recording runs the layers, and x may hold what is to be run
        starts.fill_(0)
        try:
            self._recorded[size] = Recorded(self._capture(body), firsts)
        except Exception as error:  # noqa: BLE001  (whatever forbids a graph, the layers run without)
            _LOG.warning(
                "no_graph rows=%d reason=%s", size.rows, " ".join(str(error).split())[:200]
            )
        x.copy_(before)
        return self._recorded.get(size)


def _doubled(least: int) -> int:
    """Return the power of two that is at least `least`."""
    return 1 << (least - 1).bit_length()


def _on_gpu() -> Capture:
    pool = torch.cuda.graph_pool_handle()

    def capture(body: Body) -> Body:
        body()  # loads kernels, which must not happen while a graph is recorded
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
            body()
        return graph.replay

    return capture
