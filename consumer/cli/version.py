"""`offramp version`: what is installed here, and what its files and counters go by."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from consumer import __version__
from consumer.cli.output import VERSION, Output, OutputOption, print_data

EXAMPLES = """Examples:

`offramp version`

`offramp version --model /models/reviews -o json`
"""

_PACKAGES: Final = (
    *("torch", "triton", "transformers", "tokenizers", "numpy"),
    *("kafka-python", "redis", "pydantic"),
)
"""What answers, and what is read and written, may depend on."""


def version(
    model: Annotated[
        Path | None,
        typer.Option("--model", "-m", metavar="FOLDER", help="Load this model and show it too."),
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show which versions are installed here.

    They are those of Offramp, Python, packages and formats, and the fingerprint of a model. Workers
    with the same fingerprint share counters. Counters of another schema are refused.
    """
    from policy_state.store.redis.wire import SCHEMA
    from policy_state.transfer.document import VERSION as EXPORT

    data: dict[str, Any] = {
        "offramp": __version__,
        "python": platform.python_version(),
        "packages": {name: _installed(name) for name in _PACKAGES},
        "formats": {"counters": SCHEMA, "policy exports": EXPORT, "command output": VERSION},
    }
    if model is not None:
        data["model"] = _model(model)
    shown = {
        "offramp": data["offramp"],
        "python": data["python"],
        **data["packages"],
        **{f"format of {name}": number for name, number in data["formats"].items()},
        **{f"model {name}": value for name, value in data.get("model", {}).items()},
    }
    print_data(output, data, [{"what": name, "is": value} for name, value in shown.items()])


def _installed(package: str) -> str:
    try:
        return version_of(package)
    except PackageNotFoundError:
        return "not installed"


def _model(folder: Path) -> dict[str, Any]:
    import torch

    from model.calibration import read_calibration
    from model.checkpoint.folder import fingerprint
    from model.config import read_config

    config = read_config(folder)
    calibrated = read_calibration(folder, exits=config.exits) is not None
    gpu = torch.cuda.is_available()
    return {
        "fingerprint": fingerprint(folder),
        "layers": ", ".join(map(str, config.exit_layers)),
        "labels": ", ".join(config.labels),
        "calibrated": calibrated,
        "device": torch.cuda.get_device_name() if gpu else "cpu",
        "kernels": f"CUDA {torch.version.cuda}" if gpu else torch.backends.cpu.get_cpu_capability(),
    }
