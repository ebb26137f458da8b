"""Linear layers for inference: device, precision, and the fastest kernel for a weight there."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  (torch's own convention)

from model.errors import InvalidOptions

if TYPE_CHECKING:
    from model.network import Layer, MultiExitEncoder

Kernel = Callable[[Tensor], Tensor]
Builder = Callable[[Tensor, Tensor, bool], Kernel]
Race = Callable[..., str]  # as `fastest`

PRECISIONS = ("auto", "fp32", "bf16", "int8")
_ROUNDS = 5
_RACE_ROWS = 256
_CLEARLY = 1.2


@dataclass(frozen=True, slots=True)
class Linears:
    """The products of one layer; `prepare` brings hidden states into the form they take."""

    prepare: Kernel
    query: Kernel  # its result is scaled for attention already
    key_value: Kernel
    output: Kernel
    feed_forward: Kernel


@dataclass(frozen=True, slots=True)
class LayerWeights:
    """Weight and bias of each product; the query carries the scale, key and value are one."""

    query: tuple[Tensor, Tensor]
    key_value: tuple[Tensor, Tensor]
    output: tuple[Tensor, Tensor]
    up: tuple[Tensor, Tensor]
    down: tuple[Tensor, Tensor]

    @classmethod
    def of(cls, layer: Layer) -> LayerWeights:
        """Take them from the reference network."""
        attention = layer.attention
        query, key, value = attention.self.query, attention.self.key, attention.self.value
        scale = (query.out_features // attention.heads) ** -0.5
        return cls(
            query=(query.weight.detach() * scale, query.bias.detach() * scale),
            key_value=(
                torch.cat((key.weight, value.weight)).detach(),
                torch.cat((key.bias, value.bias)).detach(),
            ),
            output=(attention.output.dense.weight.detach(), attention.output.dense.bias.detach()),
            up=(layer.intermediate.dense.weight.detach(), layer.intermediate.dense.bias.detach()),
            down=(layer.output.dense.weight.detach(), layer.output.dense.bias.detach()),
        )


def layers_of(network: MultiExitEncoder) -> list[Layer]:
    """Return the layers of the reference network, shallowest first."""
    return [cast("Layer", layer) for layer in network.elasticbert.encoder.layer]


def same(x: Tensor) -> Tensor:
    """Return x."""
    return x


def float_linears(layer: Layer, builder: Builder, *, place: Kernel) -> Linears:
    """Return a layer's float products; `place` brings a weight to device and precision."""
    weights = LayerWeights.of(layer)

    def build(pair: tuple[Tensor, Tensor], *, gelu: bool = False) -> Kernel:
        return builder(place(pair[0]), place(pair[1]), gelu)

    up, down = build(weights.up, gelu=True), build(weights.down)
    return Linears(
        prepare=same,
        query=build(weights.query),
        key_value=build(weights.key_value),
        output=build(weights.output),
        feed_forward=lambda x: down(up(x)),
    )


def plain(weight: Tensor, bias: Tensor, gelu: bool) -> Kernel:  # noqa: FBT001  (a Builder)
    """Return x -> x W' + b through torch's public operator, with GELU behind it if asked."""
    if gelu:
        return lambda x: F.gelu(F.linear(x, weight, bias))
    return lambda x: F.linear(x, weight, bias)


def tanh_gelu(weight: Tensor, bias: Tensor, gelu: bool) -> Kernel:  # noqa: FBT001  (a Builder)
    """Return nearly the same map: GELU by its tanh formula, inside the product on a GPU."""
    if not gelu:
        return plain(weight, bias, False)
    product = torch._addmm_activation  # noqa: SLF001
    return lambda x: product(bias, x, weight.t(), use_gelu=True)


def prepacked(weight: Tensor, bias: Tensor, gelu: bool) -> Kernel:  # noqa: FBT001  (a Builder)
    """Return the same map over a weight laid out for oneDNN once, CPU only.

    Raises:
        AttributeError, RuntimeError: this build of torch does not have the (private) operators.
    """
    ops: Any = torch.ops.mkldnn
    packed = ops._reorder_linear_weight(weight.contiguous(), 1024)  # noqa: SLF001
    linear = ops._linear_pointwise  # noqa: SLF001
    if gelu:
        return lambda x: linear(x, packed, bias, "gelu", [], "none")
    return lambda x: linear(x, packed, bias, "none", [], "")


def fastest(
    runners: Mapping[str, Callable[[], object]],
    *,
    margin: float,
    clock: Callable[[], float] = time.perf_counter,
) -> str:
    """Return the name of the fastest; the first one unless another is `margin` times as fast."""
    seconds = dict.fromkeys(runners, math.inf)
    for run in runners.values():
        run()
    for _ in range(_ROUNDS):
        for name, run in runners.items():
            start = clock()
            run()
            seconds[name] = min(seconds[name], clock() - start)
    first = next(iter(runners))
    best = min(seconds, key=seconds.__getitem__)
    return best if seconds[best] * margin < seconds[first] else first


_BUILDERS: Mapping[str, Builder] = {"prepacked": prepacked, "plain": plain}


def fastest_builder(
    dtype: torch.dtype,
    device: torch.device,
    *,
    width: int,
    builders: Mapping[str, Builder] = _BUILDERS,
    race: Race = fastest,
) -> Builder:
    """Return the builder whose kernel won a short race on a `width` to 4 x `width` layer."""
    if device.type != "cpu":
        return plain
    weight = torch.zeros(4 * width, width, dtype=dtype)
    bias = torch.zeros(4 * width, dtype=dtype)
    x = torch.zeros(_RACE_ROWS, width, dtype=dtype)
    runners: dict[str, Callable[[], object]] = {}
    for name, builder in builders.items():
        try:
            kernel = builder(weight, bias, False)
            kernel(x)
        except (AttributeError, RuntimeError, NotImplementedError):
            continue  # the private operators moved: the public one stays
        runners[name] = partial(kernel, x)
    return builders[race(runners, margin=_CLEARLY)]


def bf16_wins(device: torch.device, *, width: int, race: Race = fastest) -> bool:
    """Say whether bf16 clearly beats fp32 here: on CUDA by kind, on a CPU by a race."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    runners: dict[str, Callable[[], object]] = {}
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        weight = torch.zeros(4 * width, width, dtype=dtype)
        kernel = fastest_builder(dtype, device, width=width)(weight, weight[:, 0].clone(), False)
        x = torch.zeros(_RACE_ROWS, width, dtype=dtype)
        runners[name] = partial(kernel, x)
    return race(runners, margin=_CLEARLY) == "bf16"


def chosen_device(name: str) -> torch.device:
    """Return the device that `name` means on this machine.

    Raises:
        InvalidOptions: there is none of this name, or no GPU here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name not in {"cpu", "cuda"}:
        raise InvalidOptions(f"device is {name!r}, expected auto, cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise InvalidOptions(f"device is 'cuda', but torch {torch.__version__} finds no GPU here")
    return torch.device(name)


def chosen_precision(name: str, device: torch.device, *, width: int) -> str:
    """Return the precision that `name` means on this device, for layers of `width`.

    Raises:
        InvalidOptions: there is none of this name, or not on this device.
    """
    if name not in PRECISIONS:
        raise InvalidOptions(f"precision is {name!r}, expected one of {', '.join(PRECISIONS)}")
    if name == "int8" and device.type != "cpu":
        raise InvalidOptions("precision is 'int8', which runs on the CPU only")
    if name == "auto":
        return "bf16" if bf16_wins(device, width=width) else "fp32"
    return name
