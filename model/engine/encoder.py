"""The network for inference: packed tokens, a shrinking batch, all heads at the end."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  (torch's own convention)

from model.engine.attention import by_offsets, by_spans, fastest_attention, offset_kernels
from model.engine.attention import fused as dense
from model.engine.graphs import Graphs
from model.engine.int8 import int8_linears
from model.engine.kernels import (
    Linears,
    bf16_wins,
    fastest_builder,
    float_linears,
    layers_of,
    plain,
    tanh_gelu,
)
from model.errors import InvalidOptions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

    from model.engine.attention import Attention
    from model.engine.int8 import Ranges
    from model.engine.kernels import Builder
    from model.engine.packing import Packed, Stage
    from model.network import MultiExitEncoder, Pooler


_LOG = logging.getLogger("offramp.engine")
_GELU: dict[str, Builder] = {"erf": plain, "tanh": tanh_gelu}
_TRITON_HEADS = (16, 32, 64, 128)
Norm = Callable[..., Tensor]  # of the sum of two tensors, the first of which it may overwrite


@dataclass(frozen=True, slots=True)
class PackedLayer:
    """One transformer layer on packed tokens."""

    linears: Linears
    norm_1: Norm
    norm_2: Norm
    attend: Attention

    def run(self, x: Tensor, batch: Packed, stage: Stage, *, last: bool) -> Tensor:
        """Return the layer's output; in a stage's last layer, of the rows `keep` chooses."""
        context = self.context(x, batch, stage, last=last)
        return self.finish(context, keep(x, batch=batch, stage=stage) if last else x)

    def context(self, x: Tensor, batch: Packed, stage: Stage, *, last: bool) -> Tensor:
        """Return what rows find in their texts, (kept, D); all of them unless it is `last`."""
        inputs = self.linears.prepare(x)  # (rows, D)
        kept = keep(inputs, batch=batch, stage=stage) if last else inputs
        queries = self.linears.query(kept)  # (kept, D)
        return self.attend(queries, self.linears.key_value(inputs), batch, stage, last=last)

    def finish(self, context: Tensor, x: Tensor) -> Tensor:
        """Return the layer's output for rows of its input, all (kept, D)."""
        y = self.norm_1(self.linears.output(context), x)
        del context, x  # frees them, if nobody else needs them, before the largest product
        return self.norm_2(self.linears.feed_forward(y), y)


def keep(x: Tensor, *, batch: Packed, stage: Stage) -> Tensor:
    """Return all rows of the texts that go on, then the first row of each text that ends here."""
    if not stage.ending_texts:
        return x
    firsts = x.index_select(0, batch.starts[stage.staying_texts : stage.texts])
    filler = stage.kept_rows - stage.staying_tokens - stage.ending_texts
    return torch.cat((x[: stage.staying_tokens], firsts, x[:filler]))


def first_tokens(x: Tensor, batch: Packed, stage: Stage) -> Tensor:
    """Return the first row of each of a stage's texts, (texts, D), of what `keep` left."""
    ending = x[stage.staying_tokens : stage.staying_tokens + stage.ending_texts]
    if not stage.staying_texts:
        return ending
    return torch.cat((x.index_select(0, batch.starts[: stage.staying_texts]), ending))


def _filled(x: Tensor, rows: int) -> Tensor:
    return x if len(x) == rows else F.pad(x, (0, 0, 0, rows - len(x)))


class PackedEncoder:
    """A multi-exit encoder whose weights are laid out for inference on one device."""

    def __init__(  # noqa: PLR0913  (the choices of kernels, to be compared one by one)
        self,
        network: MultiExitEncoder,
        *,
        precision: str,
        device: torch.device,
        ranges: Ranges | None = None,
        attention: str | None = None,
        norm: str | None = None,
        gelu: str | None = None,
        graphs: bool = True,
    ) -> None:
        """Take the weights of `network`, whose layers are empty afterwards.

        Args:
            network: the reference network, in fp32 on the CPU.
            precision: "fp32", "bf16" or, on the CPU, "int8" (linear layers only).
            device: where to run.
            ranges: what the inputs of the linear layers range over; needed for int8.
            attention: "triton", "varlen", "flash" (over offsets, bf16 on CUDA) or "blocks"; by
                default the first of them that runs here.
            norm: "triton" (residual and layer norm in one pass, on CUDA) or "torch"; by default
                the first of them that runs here.
            gelu: on CUDA "erf" or "tanh"; by default "tanh" in bf16, whose rounding is coarser than
                the difference, and else "erf".
            graphs: whether small batches run as CUDA graphs, where attention is over offsets.
        """
        self.config = network.config
        self.device = device
        half = precision == "bf16" or (
            precision == "int8" and bf16_wins(device, width=network.config.hidden_size)
        )
        self._half = torch.bfloat16 if half else torch.float32
        self._stream = torch.bfloat16 if precision == "bf16" else torch.float32
        embeddings = network.elasticbert.embeddings
        self._words = self._placed(embeddings.word_embeddings.weight)
        self._positions = self._placed(
            embeddings.position_embeddings.weight + embeddings.token_type_embeddings.weight[0]
        )
        fused_here = triton_runs(device, self._stream)
        self.norm = norm or ("triton" if fused_here else "torch")
        self.attention, attend = self._attention(attention, fused=fused_here)
        self._norm = self._layer_norm(embeddings.LayerNorm)
        cuda = device.type == "cuda"
        width = self.config.hidden_size
        self.gelu = gelu or ("tanh" if cuda and self._stream == torch.bfloat16 else "erf")
        builder = _GELU[self.gelu] if cuda else fastest_builder(self._stream, device, width=width)
        self.layers: list[PackedLayer] = []
        for number, layer in enumerate(layers_of(network)):
            if ranges is None:
                linears = float_linears(layer, builder, place=self._placed)
            else:
                linears = int8_linears(layer, ranges[number], attention=self._half)
            self.layers.append(
                PackedLayer(
                    linears,
                    self._layer_norm(layer.attention.output.LayerNorm),
                    self._layer_norm(layer.output.LayerNorm),
                    attend,
                )
            )
            for parameter in layer.parameters():
                parameter.data = torch.empty(0)
        self.graphs: Graphs | None = None
        if graphs and self.attention != "blocks":
            positions = self.config.max_position_embeddings
            self.graphs = Graphs(self.layers, positions=positions, like=self._words)
        exits = [str(layer - 1) for layer in self.config.exit_layers]
        poolers = [cast("Pooler", network.elasticbert.encoder.pooler[key]).dense for key in exits]
        heads = [cast("nn.Linear", network.classifiers[key]) for key in exits]
        self._pooler_weights, self._pooler_biases = _stacked(poolers, device, self._half)
        self._head_weights, self._head_biases = _stacked(heads, device, torch.float32)

    def forward(self, batch: Packed) -> list[Tensor]:
        """Return fp32 logits of each of `batch.blocks`, (exit + 1, texts, classes).

        Where a text of the block ends at a shallower exit, the rows beyond that exit mean nothing.
        """
        x = self.embed(batch)
        firsts: list[Tensor] = []
        for stages in batch.stages_together():
            x, found = self.run(x, batch, stages)
            firsts += found
        return [
            self.classify(
                torch.stack([_filled(rows[start:end], end - start) for rows in firsts[: exit_ + 1]])
            )
            for exit_, start, end in batch.blocks
        ]

    def run(self, x: Tensor, batch: Packed, stages: Sequence[Stage]) -> tuple[Tensor, list[Tensor]]:
        """Return the hidden states of the texts that go on, and the first tokens at each exit.

        Args:
            x: hidden states, (rows, D).
            batch: the micro-batch.
            stages: one after the other, none of whose texts end before the last of them.
        """
        if self.graphs and (replayed := self.graphs.run(x, batch, stages)):
            return replayed
        firsts: list[Tensor] = []
        for stage in stages:
            for number in range(stage.first_layer, stage.last_layer + 1):
                last = number == stage.last_layer
                x = self.layers[number - 1].run(x, batch, stage, last=last)
            firsts.append(first_tokens(x, batch, stage))
            x = x[: stage.staying_rows]
        return x, firsts

    def embed(self, batch: Packed) -> Tensor:
        """Return the embedding of each token, (rows, D)."""
        at = batch.token_ids, batch.positions
        if self.norm == "triton":
            return self._norm(self._words, self._positions, at)
        tables = self._words, self._positions
        return self._norm(*(F.embedding(*pair) for pair in zip(at, tables, strict=True)))

    def classify(self, firsts: Tensor, *, first_exit: int = 0) -> Tensor:
        """Return logits of consecutive exits, (n, texts, C), from first tokens, (n, texts, D)."""
        ours = slice(first_exit, first_exit + firsts.shape[0])
        pooled = torch.baddbmm(
            self._pooler_biases[ours], firsts.to(self._half), self._pooler_weights[ours]
        ).tanh_()
        return torch.baddbmm(self._head_biases[ours], pooled.float(), self._head_weights[ours])

    def _attention(self, asked: str | None, *, fused: bool) -> tuple[str, Attention]:
        heads = self.config.num_attention_heads
        size = self.config.hidden_size // heads
        cuda = self.device.type == "cuda"
        blocks = dense if cuda else fastest_attention(self._half, heads=heads, size=size)
        kernels = offset_kernels(self._half, size=size, device=self.device)
        if kernels and fused and size in _TRITON_HEADS:
            from model.engine.triton_kernels import attend

            kernels = {"triton": attend, **kernels}
        found = {name: by_offsets(kernel, heads=heads) for name, kernel in kernels.items()}
        found["blocks"] = by_spans(blocks, heads=heads)
        name = next(iter(found)) if asked is None else asked
        if name not in found:
            raise InvalidOptions(f"attention is {name!r}, on this machine: {', '.join(found)}")
        return name, found[name]

    def _layer_norm(self, norm: nn.LayerNorm) -> Norm:
        weight, bias = self._placed(norm.weight), self._placed(norm.bias)
        if self.norm == "triton":
            from model.engine.triton_kernels import add_norm

            return partial(add_norm, weight=weight, bias=bias, eps=norm.eps)
        return lambda x, y: F.layer_norm(x.add_(y), weight.shape, weight, bias, norm.eps)

    def _placed(self, tensor: Tensor) -> Tensor:
        return tensor.detach().to(self.device, self._stream)


def triton_runs(device: torch.device, dtype: torch.dtype) -> bool:
    """Say whether Triton is installed, finds a C compiler and makes a kernel for this GPU."""
    if device.type != "cuda":
        return False
    x = torch.ones(1, 16, device=device, dtype=dtype)
    try:
        from model.engine.triton_kernels import add_norm

        add_norm(x, x, weight=x[0], bias=x[0], eps=1e-12)
    except Exception as error:  # noqa: BLE001  (whatever is missing, torch's own kernels run)
        _LOG.warning("no_triton reason=%s", " ".join(str(error).split())[:200])
        return False
    return True


def _stacked(
    layers: list[nn.Linear], device: torch.device, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Return the weights, (exits, in, out), and biases, (exits, 1, out), of all exits."""
    weights = torch.stack([layer.weight.detach().t() for layer in layers])
    biases = torch.stack([layer.bias.detach()[None] for layer in layers])
    return weights.to(device, dtype), biases.to(device, dtype)
