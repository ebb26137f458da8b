"""The file that a worker touches each time its loop comes round."""

from __future__ import annotations

import errno
import logging
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger("offramp.worker")

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


class LivenessFile:
    """A file whose age tells how long the loop has not come round.

    A full disk stops no prediction: a file that is there already can be touched all the same, and
    one that is not is made when there is space again.
    """

    def __init__(self, path: Path | None) -> None:
        """Touch nothing yet; None: there is no such file."""
        self._path = path
        self._is_full = False

    def touch(self) -> None:
        """Make it as old as now.

        Raises:
            OSError: it cannot be written there, for another reason than a full disk.
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
                    "the liveness file cannot be made, its disk is full file=%s: free some space, "
                    "the worker goes on meanwhile",
                    self._path,
                )
            self._is_full = True
        else:
            self._is_full = False
