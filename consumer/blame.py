"""Whose an error is: the record's that was at hand, or the world's."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from consumer.errors import ConsumerError, InvalidEvent

if TYPE_CHECKING:
    from collections.abc import Iterator

# What another record would meet too: a service, a file, memory or a library that is not there.
_WORLDS: Final = (ConsumerError, OSError, MemoryError, ImportError)


@contextmanager
def blamed(stage: str) -> Iterator[None]:
    """Make whatever goes wrong inside an `InvalidEvent` of this stage, unless it is the world's.

    Libraries raise what they like for input that nobody thought of. Without this rule each such
    record would end every worker that reads it, at every start.

    Raises:
        InvalidEvent: the record is to blame.
        Exception: the world is: what was raised, unchanged.
    """
    try:
        yield
    except _WORLDS:
        raise
    except BaseException as error:
        if not is_failure(error):
            raise
        raise InvalidEvent(stage, "unexpected-error", _told(error)) from error


def is_failure(error: BaseException) -> bool:
    """Say whether a call has failed, and was not interrupted; a panic in Rust is no `Exception`."""
    return isinstance(error, Exception) or type(error).__module__ == "pyo3_runtime"


def _told(error: BaseException) -> str:
    """Return what was raised and where, without its message: that may hold the text."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    name = type(error).__name__
    if trace is None:
        return name
    return f"{name} at {Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
