"""Options that several commands have."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Final

import typer

from model.texts.formats import Format

if TYPE_CHECKING:
    from model.engine.engine import Engine
    from model.texts.rows import Layout

MOST_ROWS: Final = 1_000_000_000
"""The largest `--limit`: it must fit into an integer of C."""

FILES: Final = "TSV, CSV, JSONL or plain lines, also as .gz or .zst; - reads stdin."
_SET: Final = "Any setting this command uses"


class LogLevel(StrEnum):
    """From which level on lines are logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


LogLevelOption = Annotated[
    LogLevel,
    typer.Option(
        case_sensitive=False,
        metavar="LEVEL",
        help="Log this level and above on stderr: debug, info, warning or error.",
    ),
]
Config = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="Settings file in TOML or YAML.", envvar="OFFRAMP_CONFIG"),
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Any setting, e.g. batch.max_events=64."),
]
SetKafka = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help=f"{_SET}; see `config show`."),
]
SetRedis = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help=f"{_SET}, e.g. redis.timeout_s=5."),
]
Bootstrap = Annotated[
    str | None,
    typer.Option(
        "--bootstrap-servers", "-b", metavar="HOST:PORT", help="Addresses of Kafka brokers."
    ),
]
RedisUrl = Annotated[
    str | None, typer.Option("--redis-url", metavar="URL", help="Address of Redis.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Apply the change without asking.")]
Watch = Annotated[bool, typer.Option("--watch", "-w", help="Refresh every two seconds.")]
Limit = Annotated[
    int,
    typer.Option("--limit", min=1, max=MOST_ROWS, metavar="N", help="Show at most this many."),
]
PricePerHour = Annotated[
    float | None,
    typer.Option(
        "--price-per-hour",
        min=0,
        max=1_000_000,
        metavar="PRICE",
        help="Price of this machine for an hour, in any currency.",
    ),
]
FileFormat = Annotated[
    Format,
    typer.Option(
        "--format",
        metavar="FORMAT",
        help="Format of the file: auto (by its name), tsv, csv, jsonl or lines.",
    ),
]


@dataclass(frozen=True, kw_only=True)
class TextFiles:
    """How files of texts are read."""

    shown_last: ClassVar = True
    form: FileFormat = Format.AUTO
    text_column: Annotated[
        str,
        typer.Option("--text-column", metavar="NAME", help="Column or field that holds the text."),
    ] = "text"

    @property
    def layout(self) -> Layout:
        """How a file is read."""
        from model.texts.rows import Layout

        return Layout(format=self.form, text=self.text_column)


@dataclass(frozen=True, kw_only=True)
class LabelledFiles(TextFiles):
    """How files of texts that may have labels are read."""

    label_column: Annotated[
        str | None,
        typer.Option(
            "--label-column",
            metavar="NAME",
            help="Column or field that holds the label; default: `label`, if it exists.",
        ),
    ] = None

    @property
    def layout(self) -> Layout:
        """How a file is read; a label column that was named must exist."""
        from model.texts.rows import Layout

        label = self.label_column
        return Layout(self.form, self.text_column, label or "label", labelled=label is not None)


class Device(StrEnum):
    """Where a model runs."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class Precision(StrEnum):
    """The precision that a model runs in."""

    FP32 = "fp32"
    BF16 = "bf16"
    INT8 = "int8"
    AUTO = "auto"


Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="A model folder.")]
Model = Annotated[Path, typer.Option("--model", "-m", metavar="FOLDER", help="A model folder.")]
Out = Annotated[Path, typer.Option("--out", help="Folder to write; it must be new or empty.")]
AllowBin = Annotated[
    bool,
    typer.Option(
        "--allow-bin", help="Also read an old pytorch_model.bin; only weights, never code."
    ),
]
DeviceOption = Annotated[
    Device, typer.Option("--device", metavar="DEVICE", help="Device to run on: auto, cpu or cuda.")
]
MaxTokens = Annotated[
    int | None,
    typer.Option(
        min=3, max=1_000_000, help="Cut longer texts here; default: the maximum of the model."
    ),
]


def engine_for(
    folder: Path, device: Device, precision: Precision, max_tokens: int | None
) -> Engine:
    """Load a model folder as the options say.

    Raises:
        ModelError: the model cannot be loaded, or does not run with these options.
    """
    from model.engine.engine import Engine

    return Engine(folder, device=device.value, precision=precision.value, max_tokens=max_tokens)
