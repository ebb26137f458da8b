"""What a training is asked for and what it reports. Needs no torch, whose import takes seconds."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from model.errors import InvalidOptions
from model.texts.rows import Layout

if TYPE_CHECKING:
    from collections.abc import Mapping

HOLD_OUT = 0.1
_HOLD_OUT_BELOW = 0.9
_LEAST_TOKENS = 3  # [CLS], one token, [SEP]
_MOST_DIGITS = 18  # of a number; Python makes none of thousands of them


class Loss(StrEnum):
    """What is minimised.

    sum: the plain sum over the exits.
    equilibrium: the same sum, but each layer receives the mean of the gradients of the exits behind
        it, not their sum (gradient equilibrium, as the ElasticBERT authors).
    weighted: deeper exits count more, in proportion to their layer.
    distilled: half of each shallower exit's target is what the last exit answers at that moment.
    """

    SUM = "sum"
    EQUILIBRIUM = "equilibrium"
    WEIGHTED = "weighted"
    DISTILLED = "distilled"


@dataclass(frozen=True, slots=True)
class NewModel:
    """Sizes of a model that starts from nothing; its vocabulary is learnt from the texts."""

    layers: int
    hidden: int
    heads: int
    ffn: int
    positions: int
    vocabulary: int


@dataclass(frozen=True, slots=True)
class Unlabelled:
    """A file of texts whose sentences a teacher labels, and how many of them at most."""

    path: Path
    most: int | None = None

    @classmethod
    def parse(cls, text: str) -> Unlabelled:
        """Read `FILE` or `FILE=SENTENCES`.

        Raises:
            InvalidOptions: what follows the `=` is not a whole number from 1 on.
        """
        name, equals, number = text.rpartition("=")
        if not equals:
            return cls(Path(text))
        if not number.isdecimal() or len(number) > _MOST_DIGITS or int(number) < 1:
            raise InvalidOptions(
                f"{text[:200]}: expected FILE or FILE=SENTENCES, a number of at least 1"
            )
        return cls(Path(name), int(number))


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
    bf16: bool | None = True  # None: if this machine multiplies bfloat16 in hardware
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
    hold_out: float = HOLD_OUT  # share of the texts kept to measure on if `evaluate_on` is empty
    calibrate_on: Path | None = None  # None: a part of the texts is held out, if they are many
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
        """Refuse settings that contradict each other.

        Raises:
            InvalidOptions: naming the settings.
        """
        if (self.teacher is None) != (not self.unlabelled):
            raise InvalidOptions(
                "a teacher and unlabelled texts are used together; give both or neither"
            )
        if not 0 <= self.hold_out <= _HOLD_OUT_BELOW:
            raise InvalidOptions(
                f"hold_out is {self.hold_out:g}, expected a share 0..{_HOLD_OUT_BELOW}"
            )
        if min(self.max_tokens, self.eval_max_tokens or self.max_tokens) < _LEAST_TOKENS:
            raise InvalidOptions(
                f"max_tokens is {self.max_tokens}, eval_max_tokens {self.eval_max_tokens}, "
                f"expected at least {_LEAST_TOKENS}"
            )


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


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a training stands; `values` are what the trainer logged: loss, rate, evaluations."""

    step: int
    steps: int
    values: Mapping[str, float]
