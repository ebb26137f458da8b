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
_CUT: Final = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)  # the other end left
_AWAY: Final = (StoreUnavailable, StreamUnavailable, ServiceUnavailable)


def wait_for(what: str, attempt: Callable[[], _T], *, give_up_s: float) -> _T:
    """Return what `attempt` returns, tried again while the service is away.

    The log says what is waited for, and again now and then.

    Args:
        what: the service and where it is.
        attempt: may be repeated without harm.
        give_up_s: how long errors may go on; the last one is raised then.

    Raises:
        ConsumerError, PolicyStateError: it cannot help to wait, or it took too long.
    """
    give_up_at = time.monotonic() + give_up_s
    last: list[Exception] = []
    with _told(what, last):
        while True:
            try:
                return attempt()
            except _AWAY as error:
                if _is_final(error) or time.monotonic() + _PAUSE_S > give_up_at:
                    raise
                last[:] = [error]
            time.sleep(_PAUSE_S)


@contextmanager
def _told(what: str, last: list[Exception]) -> Iterator[None]:
    """Log meanwhile what is waited for: by a thread, for an attempt may take long itself."""
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


def _is_final(error: Exception) -> bool:
    """Say whether waiting cannot help: who we are, or whom we trust, is at fault."""
    if isinstance(error, StreamRefused | UntrustedService):
        return True
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLError) and not isinstance(cause, _CUT):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


class Trouble:
    """Errors in a row: over with a batch that is committed, or after a while without work."""

    def __init__(self, *, give_up_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Start without any.

        Args:
            give_up_s: how long errors may go on.
            clock: seconds that only grow.
        """
        self._give_up_s = give_up_s
        self._clock = clock
        self._since: float | None = None
        self._last = 0.0
        self.times = 0
        """How many errors there were."""

    def failed(self) -> float | None:
        """Note an error; return how long to pause, or None where they have gone on too long."""
        self._last = self._clock()
        if self._since is None:
            self._since = self._last
        if self._last - self._since > self._give_up_s:
            return None
        self.times += 1
        return _PAUSES_S[min(self.times, len(_PAUSES_S)) - 1]

    def committed(self) -> None:
        """Note that a batch is through: what comes next is another trouble."""
        self._since, self.times = None, 0

    def idle(self) -> None:
        """Note that nothing is to be done, and nothing fails."""
        if self._clock() - self._last > _CALM_S:
            self.committed()
