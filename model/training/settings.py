"""What a training is asked for, checked before anything is read, and what it reports."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from model.errors import InvalidOptions
from model.texts.rows import Layout
from model.training.losses import Loss

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from model.training.new_model import NewModel
    from model.training.teacher import Unlabelled

HOLD_OUT = 0.1
_HOLD_OUT_BELOW = 0.9
_LEAST_TOKENS = 3  # [CLS], one token, [SEP]


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """All that `offramp train` was asked for."""

    data: Path
    out: Path
    start: str | NewModel  # a folder, a hub id, or sizes
    exit_layers: tuple[int, ...] | None = None
    labels: tuple[str, ...] | None = None
    layout: Layout = field(default_factory=Layout)  # of every file
    evaluate_on: tuple[Path, ...] = ()
    hold_out: float = HOLD_OUT  # share of the texts kept to measure on where `evaluate_on` is empty
    loss: Loss = Loss.SUM
    class_weights: bool = False
    max_tokens: int = 128
    eval_max_tokens: int | None = None  # None: as in training
    teacher: str | None = None
    teacher_exits: tuple[int, ...] | None = None
    unlabelled: tuple[Unlabelled, ...] = ()
    new_heads: bool = False
    allow_pickle: bool = False
    settings: TrainSettings = field(default_factory=TrainSettings)

    def __post_init__(self) -> None:
        """Refuse what does not go together.

        Raises:
            InvalidOptions: naming the settings.
        """
        if (self.teacher is None) != (not self.unlabelled):
            raise InvalidOptions("a teacher and unlabelled texts are given together or not at all")
        if not 0 <= self.hold_out <= _HOLD_OUT_BELOW:
            raise InvalidOptions(
                f"hold_out is {self.hold_out:g}, expected a share 0..{_HOLD_OUT_BELOW}"
            )
        if min(self.max_tokens, self.eval_max_tokens or self.max_tokens) < _LEAST_TOKENS:
            raise InvalidOptions(
                f"max_tokens is {self.max_tokens}, eval_max_tokens {self.eval_max_tokens}, "
                f"expected at least {_LEAST_TOKENS}"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values: what a resumed training must have been asked, too."""
        plain: dict[str, Any] = _plain(asdict(self))
        return plain


@dataclass(frozen=True, slots=True, kw_only=True)
class PretrainRequest:
    """All that `offramp pretrain` was asked for."""

    texts: Path
    out: Path
    start: str | NewModel  # a folder, a hub id, or sizes
    layout: Layout = field(default_factory=Layout)
    exit_layers: tuple[int, ...] | None = None  # where guesses are asked for; None: the last
    max_tokens: int = 128
    allow_pickle: bool = False
    settings: TrainSettings = field(default_factory=TrainSettings)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values: what a resumed training must have been asked, too."""
        plain: dict[str, Any] = _plain(asdict(self))
        return plain


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a training stands; `values` are what the trainer logged: loss, rate, evaluations."""

    step: int
    steps: int
    values: Mapping[str, float]


def training_device() -> torch.device:
    """Return where networks are trained, teach and are measured: on a GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def prefers_bf16() -> bool:
    """Tell whether this machine multiplies bfloat16 in hardware."""
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    has = torch.cpu.get_capabilities()
    return any(bool(has.get(name)) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def _plain(value: Any) -> Any:  # noqa: ANN401  (whatever a request is made of)
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, bool | int | float) else str(value)
