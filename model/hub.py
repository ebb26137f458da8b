"""Where a checkpoint is: a local folder, or a model hub's id fetched to a local folder."""

from __future__ import annotations

import re
from pathlib import Path

from model.checkpoint import OLD_WEIGHTS, WEIGHTS
from model.errors import InvalidCheckpoint
from model.vocabulary import TOKENIZER, VOCABULARY

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_FILES = ["config.json", WEIGHTS, TOKENIZER, VOCABULARY, "tokenizer_config.json"]


def locate(reference: str, *, allow_pickle: bool = False) -> Path:
    """Return the local folder of a checkpoint, downloading it if `reference` is a hub id.

    Args:
        reference: a folder, or an id such as `fnlp/elasticbert-base`.
        allow_pickle: fetch an old pytorch_model.bin too.

    Raises:
        InvalidCheckpoint: no such folder, and not an id that can be fetched.
    """
    folder = Path(reference)
    if folder.is_dir():
        return folder
    if not _HUB_ID.fullmatch(reference):
        raise InvalidCheckpoint(
            f"{reference}: is no folder, and no hub id such as fnlp/elasticbert-base"
        )
    from huggingface_hub import snapshot_download

    try:
        files = [*_FILES, OLD_WEIGHTS] if allow_pickle else _FILES
        return Path(snapshot_download(reference, allow_patterns=files))
    except Exception as error:  # the hub's client lets errors of several libraries through
        first_line = str(error).strip().partition("\n")[0]
        raise InvalidCheckpoint(
            f"{reference}: is no local folder and cannot be fetched from the hub: {first_line}"
        ) from error
