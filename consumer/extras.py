"""What `pip install offramp` leaves out, and which extra brings it."""

from __future__ import annotations

from typing import Final

_EXTRAS: Final = {
    "worker": ("huggingface_hub", "safetensors", "tokenizers", "torch", "zstandard"),
    "train": ("accelerate", "matplotlib", "transformers"),
    "traces": ("opentelemetry",),
    "dashboard": ("jinja2", "starlette", "uvicorn"),
    "registry": ("fastavro", "google", "grpc_tools", "jsonschema_rs"),
}


def needs(what: str, error: ImportError, *, extra: str | None = None) -> str | None:
    """Return which package something needs and how to install it; None if no extra brings it.

    >>> needs("kafka.format avro", ModuleNotFoundError(name="fastavro"))
    "kafka.format avro needs fastavro: pip install 'offramp[registry]'"
    """
    package = (error.name or "").partition(".")[0]
    brings = next((extra for extra, brought in _EXTRAS.items() if package in brought), None)
    return brings and f"{what} needs {package}: pip install 'offramp[{extra or brings}]'"
