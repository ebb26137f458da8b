"""How the losses of the exits become one: the published sum and three variants of it."""

from __future__ import annotations

from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  (torch's own convention)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch.utils.hooks import RemovableHandle

    from model.network import MultiExitEncoder


class Loss(StrEnum):
    """What is minimised.

    sum: the plain sum over the exits.
    equilibrium: the same sum; each layer gets the mean of the gradients of the exits behind it,
        not their sum (gradient equilibrium, as the ElasticBERT authors).
    weighted: deeper exits count more, in proportion to their layer.
    distilled: half of each shallower exit's target is what the last exit says at that moment.
    """

    SUM = "sum"
    EQUILIBRIUM = "equilibrium"
    WEIGHTED = "weighted"
    DISTILLED = "distilled"


def combined_loss(
    logits: Sequence[Tensor],
    targets: Tensor,
    kind: Loss,
    *,
    layers: Sequence[int],
    class_weights: Tensor | None = None,
) -> Tensor:
    """Return the loss over all exits, a scalar.

    Args:
        logits: of each exit, (B, classes).
        targets: class probabilities, (B, classes): one-hot, or a teacher's.
        kind: how the exits' losses become one.
        layers: the layer of each exit, for `Loss.WEIGHTED`.
        class_weights: of each class, (classes,).
    """
    per_exit = torch.stack(
        [F.cross_entropy(x.float(), targets, weight=class_weights) for x in logits]
    )  # (exits,)
    if kind is Loss.WEIGHTED:
        weights = per_exit.new_tensor(layers)
        return (per_exit * weights / weights.mean()).sum()
    if kind is Loss.DISTILLED and len(logits) > 1:
        taught = logits[-1].detach().float().softmax(-1)
        from_last = torch.stack([F.cross_entropy(x.float(), taught) for x in logits[:-1]])
        return per_exit[-1] + (per_exit[:-1] + from_last).sum() / 2
    return per_exit.sum()


def balanced_weights(labels: Sequence[int], classes: int) -> Tensor:
    """Return class weights under which every class counts the same; 1 for equal classes."""
    counts = torch.bincount(torch.tensor(labels), minlength=classes)
    return len(labels) / (classes * counts.clamp(min=1))


def add_equilibrium(network: MultiExitEncoder) -> list[RemovableHandle]:
    """Rescale gradients on their way back, so that each layer gets a mean over exits, not a sum.

    With r exits from here on, the gradient through an exit's layer counts 1/r for the exit itself
    and (r - 1)/r for what lies behind it. The forward result is unchanged.
    """
    layers = network.elasticbert.encoder.layer
    exits = network.config.exit_layers
    handles = []
    for index, layer in enumerate(exits):
        remaining = len(exits) - index
        handles.append(
            layers[layer - 1].register_forward_hook(partial(_scale_output, factor=1 / remaining))
        )
        if layer < len(layers):
            handles.append(
                layers[layer].register_forward_pre_hook(partial(_scale_input, factor=remaining - 1))
            )
    return handles


def _scale_output(_module: object, _args: object, output: Tensor, *, factor: float) -> Tensor:
    return _scaled_gradient(output, factor)


def _scale_input(_module: object, args: tuple[Any, ...], *, factor: float) -> tuple[Any, ...]:
    return (_scaled_gradient(args[0], factor), *args[1:])


def _scaled_gradient(x: Tensor, factor: float) -> Tensor:
    """Return `x` itself; its gradient is multiplied by `factor` on the way back."""
    if x.requires_grad:
        x = x.view_as(x)
        x.register_hook(lambda gradient: gradient * factor)  # type: ignore[no-untyped-call]
    return x
