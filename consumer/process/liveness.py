"""The file that a worker touches in every turn of its main loop."""

from __future__ import annotations

import errno
import logging
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger("offramp.worker")

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


class LivenessFile:
    """A file whose age is the time since the last turn of the main loop.

    A full disk stops no prediction: an existing file can still be touched, and a missing one is
    created when there is space again.
    """

    def __init__(self, path: Path | None) -> None:
        """Touch nothing yet; with None there is no file."""
        self._path = path
        self._is_full = False

    def touch(self) -> None:
        """Set its time to now.

        Raises:
            OSError: it cannot be written, for another reason than a full disk.
        """
        if self._path is None:
            return
        try:
            self._path.touch()
        except OSError as error:
            if error.errno not in _FULL:
                raise
            if not self._is_full:
                log.warning(
                    "the liveness file cannot be created because its disk is full file=%s: free "
                    "some space; the worker continues meanwhile",
                    self._path,
                )
            self._is_full = True
        else:
            self._is_full = False
