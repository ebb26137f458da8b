"""Secrets, read from files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from consumer.errors import InvalidSettings

if TYPE_CHECKING:
    from pathlib import Path


def read_secret(path: Path) -> str:
    """Return what a file holds, without the white space around it.

    Raises:
        InvalidSettings: it cannot be read, or is empty.
    """
    try:
        secret = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise InvalidSettings(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidSettings(f"{path}: not UTF-8") from error
    if not secret:
        raise InvalidSettings(f"{path}: is empty, expected a secret")
    return secret
