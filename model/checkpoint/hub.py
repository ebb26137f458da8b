"""Where a checkpoint is: a local folder, or a model hub's id fetched to a local folder."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from model.errors import InvalidCheckpoint
from model.folder_files import (
    CALIBRATION,
    CONFIG,
    INDEX,
    OLD_WEIGHTS,
    TOKENIZER,
    TOKENIZER_SETTINGS,
    VOCABULARY,
    WEIGHTS,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_FILES = [CONFIG, WEIGHTS, WEIGHTS + INDEX, "model-*.safetensors"]
_FILES += [TOKENIZER, VOCABULARY, TOKENIZER_SETTINGS, CALIBRATION]
_OLD_FILES = [OLD_WEIGHTS, OLD_WEIGHTS + INDEX, "pytorch_model-*.bin"]


def fetch(reference: str, files: Sequence[str]) -> str:
    """Download these of a hub id's files, where it has them, and return their local folder."""
    from huggingface_hub import snapshot_download

    return str(snapshot_download(reference, allow_patterns=list(files)))


def locate(
    reference: str,
    *,
    allow_pickle: bool = False,
    fetch: Callable[[str, Sequence[str]], str] = fetch,
) -> Path:
    """Return the local folder of a checkpoint, downloading it if `reference` is a hub id.

    Args:
        reference: a folder, or an id such as `fnlp/elasticbert-base`.
        allow_pickle: fetch an old pytorch_model.bin too.
        fetch: downloads files of an id.

    Raises:
        InvalidCheckpoint: no such folder, and not an id whose weights can be fetched.
    """
    folder = Path(reference)
    if folder.is_dir():
        return folder
    if not _HUB_ID.fullmatch(reference):
        raise InvalidCheckpoint(
            f"{reference}: is neither a folder nor a hub id such as fnlp/elasticbert-base"
        )
    try:
        folder = Path(fetch(reference, [*_FILES, *_OLD_FILES] if allow_pickle else _FILES))
    except Exception as error:  # the hub's client lets errors of several libraries through
        raise InvalidCheckpoint(
            f"{reference}: is no local folder and cannot be fetched from the hub: {_why(error)}"
        ) from error
    names = (WEIGHTS, WEIGHTS + INDEX, OLD_WEIGHTS, OLD_WEIGHTS + INDEX)
    if not any((folder / name).exists() for name in names):
        hint = "" if allow_pickle else f"; use --allow-bin to fetch {OLD_WEIGHTS} instead"
        raise InvalidCheckpoint(f"{reference}: the hub has no {WEIGHTS} for it{hint}")
    return folder


def _why(error: Exception) -> str:
    """Return what the hub's client says in its first line, or that the hub is unreachable."""
    first_line = str(error).strip().partition("\n")[0]
    if "ConnectError" in f"{type(error).__name__}: {first_line}":
        return "the hub is unreachable; check the network, or name a local folder"
    return first_line
