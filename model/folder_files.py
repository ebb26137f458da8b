"""The files of a model folder: their names, how they are opened, how messages show them."""

from __future__ import annotations

import json
import reprlib
import stat
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from model.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
OLD_WEIGHTS = "pytorch_model.bin"
INDEX = ".index.json"  # ends the name of the file that lists the parts of divided weights
TOKENIZER = "tokenizer.json"
VOCABULARY = "vocab.txt"
TOKENIZER_SETTINGS = "tokenizer_config.json"
CALIBRATION = "calibration.json"
CARD = "README.md"
CURVES = "curves.png"
_MOST_BYTES = 256 << 20  # of a file that is read whole; a large vocabulary has a twentieth
_LINE_CHARACTERS = 300
_shower = reprlib.Repr()
_shower.maxlevel, _shower.maxdict, _shower.maxlist, _shower.maxtuple = 2, 4, 16, 16
_shower.maxstring = _shower.maxlong = _shower.maxother = 80


class Store(StrEnum):
    """How the weights of a folder are stored: all in fp16, or the matrices in 8 bits."""

    FP16 = "fp16"
    INT8 = "int8"


def shown(value: object) -> str:
    """Return a value as an error shows it: on one line, cut if it is long."""
    return _shower.repr(value)


def plain(name: str) -> str:
    """Return a name from a file unchanged if it is short and printable, else as `shown`."""
    return name if name.isprintable() and len(name) <= _shower.maxstring else shown(name)


@contextmanager
def told_as(error: type[ModelError], what: object) -> Iterator[None]:
    """Turn whatever a library raises into one of our errors, on one line that begins with `what`.

    A panic of a library in Rust is not an `Exception`.
    """
    try:
        yield
    except ModelError:
        raise
    except BaseException as raised:
        if not isinstance(raised, Exception) and type(raised).__module__ != "pyo3_runtime":
            raise
        said = str(getattr(raised, "strerror", None) or raised).strip().partition("\n")[0]
        said = "".join(c if c.isprintable() else " " for c in said)[:_LINE_CHARACTERS]
        raise error(f"{what}: cannot be read: {said or type(raised).__name__}") from raised


def check_regular(path: Path, *, error: type[ModelError]) -> None:
    """Make sure that reading the file comes to an end.

    Raises:
        ModelError: of the kind given: it is missing, or is a pipe, a device or a folder.
    """
    with told_as(error, path):
        mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        raise error(f"{path}: cannot be read: not a regular file")


def read_text(path: Path, *, error: type[ModelError]) -> str:
    r"""Return the text of a file, its lines ended by \n, without a byte order mark.

    Raises:
        ModelError: of the kind given: it is missing, not UTF-8, or too large.
    """
    check_regular(path, error=error)
    with told_as(error, path):
        if (size := path.stat().st_size) > _MOST_BYTES:
            raise error(f"{path}: has {size:,} bytes; at most {_MOST_BYTES:,} are read")
        return path.read_text(encoding="utf-8-sig")


def read_object(path: Path, *, error: type[ModelError]) -> dict[str, Any]:
    """Return the JSON object that a file holds.

    Raises:
        ModelError: of the kind given: it is missing, or holds no JSON object.
    """
    text = read_text(path, error=error)
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as broken:
        raise error(f"{path}: not JSON: {str(broken)[:_LINE_CHARACTERS]}") from broken
    if not isinstance(found, dict):
        raise error(f"{path}: expected a JSON object, got {type(found).__name__}")
    return found
