"""Int8 linear layers on the CPU: calibrated on texts, and refused if too many labels change."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from model.engine.kernels import LayerWeights, Linears, layers_of
from model.errors import InvalidCheckpoint
from model.folder_files import check_regular, plain, told_as
from model.wording import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from model.config import ModelConfig
    from model.engine.kernels import Kernel
    from model.network import Layer, MultiExitEncoder

INT8_FILE = "int8.safetensors"
_CALIBRATE = "`offramp model int8`"
_LEVELS = 255
_POINTS = ("hidden", "context", "middle_in", "middle")  # where a layer's products take their inputs


@dataclass(frozen=True, slots=True)
class Range:
    """The smallest and the largest value seen, of each channel."""

    low: Tensor  # (channels)
    high: Tensor  # (channels)


Ranges = list[dict[str, Range]]  # of each layer, by input point


def int8_linears(layer: Layer, ranges: Mapping[str, Range], *, attention: torch.dtype) -> Linears:
    """Return a layer's products over 8-bit weights and inputs; keys and queries are `attention`.

    Each input channel has its own step and offset; step and offset are folded into weight and bias,
    so that one multiply-add turns hidden states into bytes.

    Raises:
        AttributeError, RuntimeError: this build of torch or this CPU lacks the (private) operators.
    """
    weights = LayerWeights.of(layer)
    hidden = Steps.of(ranges["hidden"], (weights.query[0], weights.key_value[0]))
    context = Steps.of(ranges["context"], (weights.output[0],))
    middle_in = Steps.of(ranges["middle_in"], (weights.up[0],))
    middle = Steps.even(ranges["middle"])
    quantise_context, quantise_middle = context.quantiser(), middle_in.quantiser()
    output = context.linear(*weights.output)
    up = middle_in.linear(*weights.up, gelu_to=middle)
    down = middle.linear(*weights.down)
    return Linears(
        prepare=hidden.quantiser(),
        query=hidden.linear(*weights.query, out=attention),
        key_value=hidden.linear(*weights.key_value, out=attention),
        output=lambda x: output(quantise_context(x)),
        feed_forward=lambda x: down(up(quantise_middle(x))),
    )


@dataclass(frozen=True, slots=True)
class Steps:
    """How one input becomes bytes: value = low + step * byte, for each channel."""

    low: Tensor  # (channels)
    step: Tensor  # (channels)

    @classmethod
    def of(cls, seen: Range, weights: Sequence[Tensor]) -> Steps:
        """Choose steps that cover the range and leave the weights even.

        A channel with a wide range makes its column of the weight large once the step is folded in;
        channels with a narrow range get coarser steps than they need (square-root balance), so that
        no column rules the scale of the weight.
        """
        span = (seen.high - seen.low).clamp_min(1e-6)
        largest = torch.stack([w.abs().amax(0) for w in weights]).amax(0).clamp_min(1e-6)
        wanted = (span / largest).sqrt()
        step = wanted * (span / _LEVELS / wanted).max()
        middle = (seen.high + seen.low) / 2
        return cls(low=middle - step * _LEVELS / 2, step=step)

    @classmethod
    def even(cls, seen: Range) -> Steps:
        """Choose one step for all channels, as a product that writes bytes itself needs it."""
        low, high = seen.low.min().clamp_max(0.0), seen.high.max().clamp_min(1e-6)
        step = (high - low) / _LEVELS
        offset = (-low / step).round()
        return cls(low=(-offset * step).expand_as(seen.low), step=step.expand_as(seen.low))

    def quantiser(self) -> Kernel:
        """Return the map from values to bytes.

        The detour over 16 bits is four times as fast as torch's own cast from fp32 to bytes.
        """
        factor = 1 / self.step
        offset = 0.5 - self.low * factor  # the cast cuts off, so this rounds

        def quantise(x: Tensor) -> Tensor:
            scaled = torch.addcmul(offset, x.float(), factor).clamp_(0, _LEVELS)
            return scaled.to(torch.int16).to(torch.uint8)

        return quantise

    def linear(
        self,
        weight: Tensor,
        bias: Tensor,
        *,
        out: torch.dtype = torch.float32,
        gelu_to: Steps | None = None,
    ) -> Kernel:
        """Return bytes -> x W' + b as `out`; or its GELU as bytes of `gelu_to`."""
        folded = weight * self.step  # (out, in)
        scales = folded.abs().amax(1).clamp_min(1e-12) / 127
        rounded = (folded / scales[:, None]).round()
        quantised = rounded.to(torch.int8)
        # The offset meets the rounded weight: with the exact one, errors would grow by the range.
        bias = bias + (rounded * scales[:, None]) @ (self.low / self.step)
        ops: Any = torch.ops.onednn
        packed = ops.qlinear_prepack(quantised, None)
        zeros = torch.zeros(len(scales), dtype=torch.int32)
        product = ops.qlinear_pointwise
        if gelu_to is None:
            return lambda x: product(
                x, 1.0, 0, packed, scales, zeros, bias, 1.0, 0, out, "none", [], ""
            )
        step = float(gelu_to.step[0])
        offset = round(-float(gelu_to.low[0]) / step)
        return lambda x: product(
            x, 1.0, 0, packed, scales, zeros, bias, step, offset, torch.uint8, "gelu", [], "none"
        )


def observe(network: MultiExitEncoder, rows: Iterable[Sequence[int]]) -> Ranges:
    """Return what the inputs of the linear layers range over when `network` reads these texts."""
    layers = layers_of(network)
    ranges: Ranges = [{} for _ in layers]
    hooks = []

    def watch(at: dict[str, Range], point: str) -> Callable[..., None]:
        def hook(_module: object, inputs: tuple[Tensor]) -> None:
            x = inputs[0].flatten(0, 1)
            low, high = x.amin(0), x.amax(0)
            if point in at:
                low, high = torch.minimum(low, at[point].low), torch.maximum(high, at[point].high)
            at[point] = Range(low, high)

        return hook

    for layer, at in zip(layers, ranges, strict=True):
        modules = (
            layer.attention.self.query,
            layer.attention.output.dense,
            layer.intermediate.dense,
            layer.output.dense,
        )
        for point, module in zip(_POINTS, modules, strict=True):
            hooks.append(module.register_forward_pre_hook(watch(at, point)))
    try:
        with torch.inference_mode():
            for row in rows:
                ids = torch.tensor([row])
                network(ids, torch.ones_like(ids))
    finally:
        for hook in hooks:
            hook.remove()
    return ranges


@dataclass(frozen=True, slots=True)
class Agreement:
    """With which share of fp32's labels int8 agreed, at each exit, and on how many texts."""

    shares: tuple[float, ...]
    texts: int


def write_int8(folder: Path, ranges: Ranges, *, fingerprint: str, agreement: Agreement) -> Path:
    """Save ranges and the measured agreement beside the model."""
    path = folder / INT8_FILE
    tensors = {
        f"{number}.{point}.{end}": getattr(seen, end).clone()
        for number, layer in enumerate(ranges)
        for point, seen in layer.items()
        for end in ("low", "high")
    }
    metadata = {
        "fingerprint": fingerprint,
        "agreement": json.dumps(agreement.shares),
        "texts": str(agreement.texts),
    }
    path.write_bytes(safetensors.torch.save(tensors, metadata=metadata))
    return path


def read_int8(
    folder: Path, config: ModelConfig, *, fingerprint: str, least_agreement: float
) -> Ranges:
    """Read the ranges, if int8 was measured for this very model and agrees with fp32 at every exit.

    Raises:
        InvalidCheckpoint: no calibration, one of another model, or too little agreement.
    """
    path = folder / INT8_FILE
    try:
        check_regular(path, error=InvalidCheckpoint)
        with told_as(InvalidCheckpoint, path), safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata()
            calibrated = metadata["fingerprint"]
            shares = tuple(map(float, json.loads(metadata["agreement"])))
            agreement = Agreement(shares, int(metadata["texts"]))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except InvalidCheckpoint as error:
        raise InvalidCheckpoint(
            f"{error}; no usable int8 calibration; make one with {_CALIBRATE}"
        ) from error
    if calibrated != fingerprint:
        raise InvalidCheckpoint(
            f"{path}: calibrated for model {plain(calibrated)}, but this one is {fingerprint}; "
            f"calibrate again with {_CALIBRATE}"
        )
    if len(agreement.shares) != config.exits:
        raise InvalidCheckpoint(
            f"{path}: measured at {counted(len(agreement.shares), 'exit')}, "
            f"but the model has {config.exits}; calibrate again with {_CALIBRATE}"
        )
    for exit_, share in enumerate(agreement.shares):
        if not least_agreement <= share <= 1:
            raise InvalidCheckpoint(
                f"{path}: exit {exit_} agrees with fp32 on {share:.2%} of {agreement.texts} texts "
                f"in int8, at least {least_agreement:.2%} is required; use fp32 or bf16"
            )
    return [
        {point: _range(tensors, f"{number}.{point}", config, where=str(path)) for point in _POINTS}
        for number in range(config.num_hidden_layers)
    ]


def _range(tensors: Mapping[str, Tensor], name: str, config: ModelConfig, *, where: str) -> Range:
    """Return one of a calibration's ranges, of as many channels as the layer has there.

    Raises:
        InvalidCheckpoint: it is missing, or is no range.
    """
    channels = config.intermediate_size if name.endswith(".middle") else config.hidden_size
    ends = [tensors.get(f"{name}.{end}") for end in ("low", "high")]
    for end in ends:
        if end is None or end.shape != (channels,) or end.dtype != torch.float32:
            kind = "missing" if end is None else f"{tuple(end.shape)} of {end.dtype}"
            raise InvalidCheckpoint(
                f"{where}: {name} is {kind}, expected a range of {channels} numbers"
            )
    low, high = (end for end in ends if end is not None)
    if not (torch.isfinite(low) & torch.isfinite(high) & (low <= high)).all():
        raise InvalidCheckpoint(f"{where}: {name} is not a range: low must be at most high")
    return Range(low, high)
