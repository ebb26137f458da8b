"""What a worker needs from outside before it can start: waited for while it is away."""

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
