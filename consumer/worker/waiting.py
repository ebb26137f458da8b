"""How long a worker waits for services that are unreachable: at its start, and while it runs."""

from __future__ import annotations

import logging
import ssl
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TypeVar

from consumer.errors import ServiceUnavailable, StreamRefused, StreamUnavailable, UntrustedService
from policy_state.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

log = logging.getLogger("offramp.start")

_T = TypeVar("_T")
_PAUSE_S: Final = 0.5
_SAID_AFTER_S: Final = 2.0
_SAID_EVERY_S: Final = 15.0
_PAUSES_S: Final = (0.1, 0.5, 1.0, 2.0, 5.0)
_CALM_S: Final = 30.0
_CUT: Final = (
    ssl.SSLEOFError,
    ssl.SSLZeroReturnError,
    ssl.SSLSyscallError,
)  # the other end closed the connection
UNREACHABLE: Final = (StoreUnavailable, StreamUnavailable, ServiceUnavailable)


def wait_for(
    what: str,
    attempt: Callable[[], _T],
    *,
    give_up_s: float,
    trying: Callable[[], None] = lambda: None,
) -> _T:
    """Return what `attempt` returns, trying again while the service is unreachable.

    The log says what is waited for, repeats this, and says when the wait is given up.

    Args:
        what: the service and its address.
        attempt: may be repeated without harm.
        give_up_s: after this long the last error is raised.
        trying: called before each attempt.

    Raises:
        ConsumerError, PolicyStateError: waiting cannot help, or it took too long.
    """
    give_up_at = time.monotonic() + give_up_s
    last: list[Exception] = []
    with _told(what, last):
        while True:
            trying()
            try:
                return attempt()
            except UNREACHABLE as error:
                if is_final(error):
                    raise
                if time.monotonic() + _PAUSE_S > give_up_at:
                    log.error("gives up on %s after worker.give_up_s=%g", what, give_up_s)  # noqa: TRY400
                    raise
                last[:] = [error]
            time.sleep(_PAUSE_S)


@contextmanager
def _told(what: str, last: list[Exception]) -> Iterator[None]:
    """Log what is waited for, in a thread, as one attempt may take long."""
    begun, over = time.monotonic(), threading.Event()

    def tell() -> None:
        pause_s = _SAID_AFTER_S
        while not over.wait(pause_s):
            waited_s = time.monotonic() - begun
            error = last[0] if last else "no answer yet"
            log.warning("waiting for %s waited_s=%.0f error=%s", what, waited_s, error)
            pause_s = _SAID_EVERY_S

    teller = threading.Thread(target=tell, name="offramp-waiting", daemon=True)
    teller.start()
    try:
        yield
    finally:
        over.set()


def is_final(error: Exception) -> bool:
    """Return whether waiting cannot help, because a login, a right or a certificate is wrong."""
    if isinstance(error, StreamRefused | UntrustedService):
        return True
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLError) and not isinstance(cause, _CUT):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


class Trouble:
    """Errors in a row: it ends with a committed batch, or after a while without work."""

    def __init__(self, *, give_up_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Start without errors.

        Args:
            give_up_s: how long errors may last.
            clock: returns seconds that only grow.
        """
        self._give_up_s = give_up_s
        self._clock = clock
        self._since: float | None = None
        self._last = 0.0
        self.times = 0
        """The number of errors in a row."""

    def failed(self) -> float | None:
        """Note an error; return how long to pause, or None if errors have lasted too long."""
        self._last = self._clock()
        if self._since is None:
            self._since = self._last
        if self._last - self._since > self._give_up_s:
            return None
        self.times += 1
        return _PAUSES_S[min(self.times, len(_PAUSES_S)) - 1]

    def committed(self) -> None:
        """Note that a batch is committed: the next error begins a new row."""
        self._since, self.times = None, 0

    def idle(self) -> None:
        """Note that there is nothing to do, and nothing fails."""
        if self._clock() - self._last > _CALM_S:
            self.committed()
