"""Options that `offramp train` and `pretrain` share: what they start from, and how they run."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from consumer.cli.commands import without_effect
from consumer.cli.options import AllowBin

if TYPE_CHECKING:
    from model.training.settings import NewModel, TrainSettings

_PANEL = "Sizes of a new model"


@dataclass(frozen=True, kw_only=True)
class Start:
    """Options for what the weights start from: a checkpoint, or a size."""

    start: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="FOLDER|HUB_ID", help="BERT or ElasticBERT checkpoint to start from."
        ),
    ] = None
    new: Annotated[
        str | None,
        typer.Option(
            "--new", metavar="SIZE", help="New model of a size: tiny, mini, small, medium or base."
        ),
    ] = None
    layers: Annotated[
        int | None,
        typer.Option(min=1, max=1_000, rich_help_panel=_PANEL, help="Transformer layers."),
    ] = None
    hidden: Annotated[
        int | None,
        typer.Option(min=1, max=100_000, rich_help_panel=_PANEL, help="Width of a layer."),
    ] = None
    heads: Annotated[
        int | None, typer.Option(min=1, max=1_000, rich_help_panel=_PANEL, help="Attention heads.")
    ] = None
    ffn: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=1_000_000,
            rich_help_panel=_PANEL,
            help="Feed-forward size; default: 4 x hidden.",
        ),
    ] = None
    positions: Annotated[
        int,
        typer.Option(
            min=3, max=1_000_000, rich_help_panel=_PANEL, help="Maximum tokens of a text."
        ),
    ] = 512
    vocabulary: Annotated[
        int,
        typer.Option(
            min=100, max=10_000_000, rich_help_panel=_PANEL, help="Number of word pieces."
        ),
    ] = 30_522

    def weights(self, ctx: typer.Context) -> str | NewModel:
        """Return what the weights start from: exactly one of a checkpoint and a size."""
        from model.config import SIZES
        from model.errors import InvalidOptions

        if (self.start is None) == (self.new is None):
            raise InvalidOptions("give either --from FOLDER|HUB_ID or --new SIZE")
        if self.start is not None:
            sizes = {each.name for each in fields(self)} - {"start", "new"}
            without_effect(ctx, sizes, "with --from: the checkpoint sets them")
            return self.start
        if self.new not in SIZES:
            raise InvalidOptions(f"--new {self.new}: expected one of {', '.join(SIZES)}")
        from model.training.settings import NewModel

        depth, width, attention = SIZES[str(self.new)]
        width = self.hidden or width
        return NewModel(
            layers=self.layers or depth,
            hidden=width,
            heads=self.heads or attention,
            ffn=self.ffn or 4 * width,
            positions=self.positions,
            vocabulary=self.vocabulary,
        )


@dataclass(frozen=True, kw_only=True)
class Run:
    """Options for how a training runs."""

    shown_last: ClassVar = True
    epochs: Annotated[int, typer.Option(min=1, max=100_000, help="Passes over the texts.")] = 1
    batch_size: Annotated[int, typer.Option(min=1, max=1_000_000, help="Texts per step.")] = 64
    max_tokens: Annotated[
        int, typer.Option(min=3, max=1_000_000, help="Cut longer texts here.")
    ] = 128
    bf16: Annotated[
        bool | None,
        typer.Option("--bf16/--fp32", help="Train in bf16 or fp32; default: bf16 if supported."),
    ] = None
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of the random numbers.")] = 0
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue where the same command stopped.")
    ] = False
    allow_bin: AllowBin = False

    def settings(self, **more: Any) -> TrainSettings:  # noqa: ANN401  (its other fields)
        """Return what a trainer takes."""
        from model.training.settings import TrainSettings

        return TrainSettings(
            epochs=self.epochs, batch_size=self.batch_size, seed=self.seed, bf16=self.bf16, **more
        )
