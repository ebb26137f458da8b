"""The W3C trace context that producers write into headers of their records."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from consumer.events.record import Headers

_PARENT: Final = re.compile(rb"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_STATE: Final = re.compile(rb"[ -~]{1,512}")


class TraceContext(NamedTuple):
    """Which span wrote a record."""

    trace_id: int
    span_id: int
    flags: int


def context_of(headers: Headers) -> TraceContext | None:
    """Return what the last `traceparent` says, if it says anything.

    >>> context_of((("traceparent", b"00-" + b"a" * 32 + b"-00000000000000ff-01"),))
    TraceContext(trace_id=226854911280625642308916404954512140970, span_id=255, flags=1)
    >>> context_of((("traceparent", b"00-" + b"0" * 32 + b"-00000000000000ff-01"),))
    """
    if (match := _PARENT.fullmatch(_last(headers, "traceparent"))) is None:
        return None
    found = TraceContext(*(int(part, 16) for part in match.groups()))
    return found if found.trace_id and found.span_id else None


def passed_on(headers: Headers) -> Headers:
    """Return what a prediction has of the headers of its event: its trace context, unchanged.

    >>> parent = ("traceparent", b"00-" + b"a" * 32 + b"-00000000000000ff-01")
    >>> passed_on((("source", b"x"), parent)) == (parent,)
    True
    """
    if context_of(headers) is None:
        return ()
    parent, state = _last(headers, "traceparent"), _last(headers, "tracestate")
    more = (("tracestate", state),) if _STATE.fullmatch(state) else ()
    return (("traceparent", parent), *more)


def _last(headers: Headers, name: str) -> bytes:
    return next((value or b"" for key, value in reversed(headers) if key == name), b"")
