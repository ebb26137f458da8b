"""Options that `offramp train` and `pretrain` share, and what some of them mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer

from consumer.cli.common import MOST_ROWS

if TYPE_CHECKING:
    from model.training.losses import Loss
    from model.training.new_model import NewModel

_LAYER_DIGITS = 6

From = Annotated[
    str | None,
    typer.Option("--from", metavar="FOLDER|HUB_ID", help="A BERT or ElasticBERT to start from."),
]
New = Annotated[
    str | None,
    typer.Option(
        "--new", metavar="SIZE", help="Start from nothing: tiny, mini, small, medium or base."
    ),
]
Exits = Annotated[
    str | None,
    typer.Option("--exits", metavar="LAYERS", help="Layers with an exit, e.g. 1,3,7,12."),
]
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1)]
Epochs = Annotated[int, typer.Option("--epochs", min=1, max=100_000)]
BatchSize = Annotated[int, typer.Option("--batch-size", min=1, max=1_000_000, help="Texts a step.")]
MaxTokens = Annotated[
    int, typer.Option("--max-tokens", min=3, max=1_000_000, help="Longer texts are cut.")
]
Bf16 = Annotated[
    bool | None,
    typer.Option("--bf16/--fp32", help="Mixed precision or not; bf16 where the hardware has it."),
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on with the same command where it stopped.")
]
CheckpointEvery = Annotated[
    int,
    typer.Option(
        "--eval-every", min=1, max=MOST_ROWS, help="Steps between evaluations and checkpoints."
    ),
]
_PANEL = "Sizes of a new model"
Layers = Annotated[int | None, typer.Option("--layers", min=1, max=1_000, rich_help_panel=_PANEL)]
Hidden = Annotated[int | None, typer.Option("--hidden", min=1, max=100_000, rich_help_panel=_PANEL)]
Heads = Annotated[int | None, typer.Option("--heads", min=1, max=1_000, rich_help_panel=_PANEL)]
Ffn = Annotated[
    int | None,
    typer.Option(
        "--ffn",
        min=1,
        max=1_000_000,
        rich_help_panel=_PANEL,
        help="Feed-forward size; 4 x hidden if not given.",
    ),
]
Positions = Annotated[
    int,
    typer.Option(
        "--positions", min=3, max=1_000_000, rich_help_panel=_PANEL, help="Most tokens of a text."
    ),
]
Vocabulary = Annotated[
    int,
    typer.Option(
        "--vocabulary", min=100, max=10_000_000, rich_help_panel=_PANEL, help="Word pieces."
    ),
]

SIZED: Final = ("layers", "hidden", "heads", "ffn", "positions", "vocabulary")
"""The parameters of both commands that are the sizes of a new model."""


def start_of(
    start: str | None,
    new: str | None,
    layers: int | None,
    hidden: int | None,
    heads: int | None,
    ffn: int | None,
    positions: int,
    vocabulary: int,
) -> str | NewModel:
    """Return what the weights start from: exactly one of a checkpoint and a size."""
    from model.config import SIZES
    from model.errors import InvalidOptions
    from model.training.new_model import NewModel

    if (start is None) == (new is None):
        raise InvalidOptions("give either --from FOLDER|HUB_ID or --new SIZE")
    if start is not None:
        return start
    if new not in SIZES:
        raise InvalidOptions(f"--new {new}: expected one of {', '.join(SIZES)}")
    depth, width, attention = SIZES[str(new)]
    width = hidden or width
    return NewModel(
        layers=layers or depth,
        hidden=width,
        heads=heads or attention,
        ffn=ffn or 4 * width,
        positions=positions,
        vocabulary=vocabulary,
    )


def numbers_of(text: str | None, option: str) -> tuple[int, ...] | None:
    """Return the numbers of `1,3,7`; None where the option is not given.

    Raises:
        InvalidOptions: they are none; names the option.
    """
    from model.errors import InvalidOptions

    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and len(part) <= _LAYER_DIGITS for part in parts):
        raise InvalidOptions(
            f"{option} {text[:40]}: expected whole numbers with commas, e.g. 1,3,7,12"
        )
    return tuple(map(int, parts))


def loss_of(name: str) -> Loss:
    """Return the loss of this name.

    Raises:
        InvalidOptions: there is none; lists those that there are.
    """
    from model.errors import InvalidOptions
    from model.training.losses import Loss

    if name not in set(Loss):
        raise InvalidOptions(f"--loss {name}: expected one of {', '.join(Loss)}")
    return Loss(name)
