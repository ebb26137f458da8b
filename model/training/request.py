"""What `offramp train` and `pretrain` are asked for, checked before anything is read."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from model.errors import InvalidOptions
from model.texts.rows import Layout
from model.training.losses import Loss
from model.training.settings import TrainSettings

if TYPE_CHECKING:
    from pathlib import Path

    from model.training.new_model import NewModel
    from model.training.teacher import Unlabelled

HOLD_OUT = 0.1
_HOLD_OUT_BELOW = 0.9
_LEAST_TOKENS = 3  # [CLS], one token, [SEP]


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


def _plain(value: Any) -> Any:  # noqa: ANN401  (whatever a request is made of)
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, bool | int | float) else str(value)
