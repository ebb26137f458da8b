"""How a worker logs: lines on stderr, of which foreign ones come once a minute at most."""

from __future__ import annotations

import logging
import sys
import threading
import time
from typing import TYPE_CHECKING, Final

from policy_state.wording import counted

if TYPE_CHECKING:
    from collections.abc import Callable

FORM: Final = "%(asctime)s %(levelname)s %(name)s %(message)s"
_EVERY_S: Final = 60.0
_KEPT: Final = 1_000  # different lines; beyond these it begins anew


class OncePerMinute(logging.Filter):
    """Lets the same line of another package through once a minute, and all of ours.

    kafka-python says some 40 times a second that a topic is not there.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._lock = threading.Lock()
        self._said: dict[tuple[str, str], tuple[float, int]] = {}  # when, and how often since

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether a line is to be written, and add to it how many were not."""
        if record.name.split(".")[0] == "offramp":
            return True
        line, now = (record.name, record.getMessage()), self._clock()
        with self._lock:
            since, left_out = self._said.get(line, (now - _EVERY_S, 0))
            if now - since < _EVERY_S:
                self._said[line] = (since, left_out + 1)
                return False
            if len(self._said) >= _KEPT:
                self._said.clear()
            self._said[line] = (now, 0)
        if left_out:
            record.msg, record.args = (
                f"{line[1]} (and {counted(left_out, 'time')} more since the last)",
                (),
            )
        return True


def log_to_stderr(level: str) -> None:
    """Have our own lines logged from a level on, and the warnings of other packages."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(FORM))
    handler.addFilter(OncePerMinute())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("offramp").setLevel(level.upper())
