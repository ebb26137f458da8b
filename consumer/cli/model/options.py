"""Options that commands about models share, and the engine they name."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from model.engine.engine import Engine


class Device(StrEnum):
    """Where a model runs."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class Precision(StrEnum):
    """In which numbers a model runs."""

    FP32 = "fp32"
    BF16 = "bf16"
    INT8 = "int8"
    AUTO = "auto"


Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="A model folder.")]
DeviceOption = Annotated[Device, typer.Option("--device", help="Where to run it.")]
Out = Annotated[Path, typer.Option("--out", help="Folder to write; new or empty.")]
AllowBin = Annotated[
    bool,
    typer.Option("--allow-bin", help="Read an old pytorch_model.bin (weights only, no code)."),
]


def engine_for(
    folder: Path, device: Device, precision: Precision, max_tokens: int | None
) -> Engine:
    """Load a model folder as the options say.

    Raises:
        ModelError: it cannot be loaded, or not run like that.
    """
    from model.engine.engine import Engine

    return Engine(folder, device=device.value, precision=precision.value, max_tokens=max_tokens)
