"""Settings of a training, its optimiser, and what it reports while it runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from model.checkpoint.key_map import is_head
from model.errors import InvalidOptions

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """How to train. Rates are AdamW peak rates after a linear warm-up, then a linear decay."""

    epochs: int = 1
    batch_size: int = 64
    body_rate: float = 2e-4
    head_rate: float = 5e-4
    weight_decay: float = 0.01
    warmup_share: float = 0.06
    clip_norm: float = 1.0
    seed: int = 0
    bf16: bool = True
    evaluate_every: int = 500  # steps between evaluations, which are also the checkpoints
    patience: int | None = None  # evaluations without a better one before stopping

    def __post_init__(self) -> None:
        """Refuse numbers that cannot be trained with.

        Raises:
            InvalidOptions: naming the setting, its value and the limit.
        """
        for name in ("epochs", "batch_size", "evaluate_every", "patience"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InvalidOptions(f"{name} is {value}, expected at least 1")
        for name in ("body_rate", "head_rate"):
            value = getattr(self, name)
            if not 0 < value < 1:
                raise InvalidOptions(f"{name} is {value}, expected a number between 0 and 1")


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a training stands; `values` are what the trainer logged: loss, rate, evaluations."""

    step: int
    steps: int
    values: Mapping[str, float]


def optimizer_for(network: nn.Module, settings: TrainSettings) -> torch.optim.Optimizer:
    """Return AdamW with its own rate for the heads, and no weight decay on biases and LayerNorm.

    Poolers and classifiers start at random on a trained encoder: at the encoder's rate the
    shallow exits learn nothing.
    """
    groups: dict[tuple[bool, bool], list[Tensor]] = {}
    for name, parameter in network.named_parameters():
        groups.setdefault((is_head(name), parameter.dim() > 1), []).append(parameter)
    options: list[dict[str, Any]] = [
        {
            "params": parameters,
            "lr": settings.head_rate if head else settings.body_rate,
            "weight_decay": settings.weight_decay if decays else 0.0,
        }
        for (head, decays), parameters in groups.items()
    ]
    return torch.optim.AdamW(options, fused=True)


def training_device() -> torch.device:
    """Return where networks are trained, teach and are measured: on a GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def prefers_bf16() -> bool:
    """Tell whether this machine multiplies bfloat16 in hardware."""
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    has = torch.cpu.get_capabilities()
    return any(bool(has.get(name)) for name in ("avx512_bf16", "amx_bf16", "bf16"))
