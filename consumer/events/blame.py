"""Whose an error is: the record's that was at hand, or the world's."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from consumer.errors import ConsumerError, InvalidEvent

# What another record would meet too: a service, a file, memory or a library that is not there.
_WORLDS: Final = (ConsumerError, OSError, MemoryError, ImportError)


class blamed:  # noqa: N801  (read as a call: `with blamed("parse"):`)
    """Makes whatever goes wrong inside an `InvalidEvent` of a stage, unless it is the world's.

    Libraries raise what they like for input that nobody thought of. Without this rule each such
    record would end every worker that reads it, at every start.
    """

    __slots__ = ("_stage",)

    def __init__(self, stage: str) -> None:
        """Take the stage that is told."""
        self._stage = stage

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        """Let pass what the world is to blame for.

        Raises:
            InvalidEvent: the record is to blame.
        """
        if error is None or isinstance(error, _WORLDS) or not is_failure(error):
            return
        raise InvalidEvent(self._stage, "unexpected-error", _told(error)) from error


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
