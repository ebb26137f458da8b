"""The trace context that a prediction has from its event."""

import pytest

from consumer.events.trace_context import passed_on

PARENT = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([("traceparent", PARENT), ("x", b"y")], [("traceparent", PARENT)]),
        ([("tracestate", b"a=1"), ("traceparent", PARENT)],
         [("traceparent", PARENT), ("tracestate", b"a=1")]),
        ([("traceparent", b"old"), ("traceparent", PARENT)], [("traceparent", PARENT)]),
        ([("traceparent", PARENT), ("tracestate", b"a" * 513)], [("traceparent", PARENT)]),
        ([("traceparent", PARENT), ("tracestate", b"a\n")], [("traceparent", PARENT)]),
        ([("traceparent", PARENT.upper())], []),
        ([("traceparent", PARENT + b"-x")], []),
        ([("traceparent", b"ff" + PARENT[2:])], []),
        ([("traceparent", None), ("tracestate", b"a=1")], []),
        ([("Traceparent", PARENT)], []),
    ],
)  # fmt: skip
def test_a_prediction_has_the_trace_context_of_its_event_and_no_other_header(headers, expected):
    """Only as the W3C has it; the last one counts, as for other clients."""
    assert passed_on(tuple(headers)) == tuple(expected)
