"""Traces of batches for OpenTelemetry: one span for each batch, with a child for each stage.

Spans are made after the commit of their batch, and sent by a thread of the SDK, which drops the
oldest ones if nobody takes them. All settings are the standard variables, `OTEL_...`.
"""

from __future__ import annotations

import threading
from itertools import islice
from typing import TYPE_CHECKING, Final

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from consumer import __version__
from consumer.events.trace_context import context_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from opentelemetry.trace import Span
    from opentelemetry.util.types import Attributes

    from consumer.events.record import BatchOutcome, Record
    from consumer.laps import Lap

_LINKS: Final = 32
_CLOSE_S: Final = 2.0


class Traces:
    """Sends spans of one worker."""

    def __init__(self, *, group: str, instance: str) -> None:
        """Begin a thread that sends spans to where the standard variables say.

        Raises:
            ValueError: one of these variables has a value that it cannot have.
        """
        own = Resource(
            {
                "service.name": "offramp",
                "service.version": __version__,
                "service.instance.id": instance,
            }
        )
        self._sending = BatchSpanProcessor(OTLPSpanExporter())
        provider = TracerProvider(
            resource=Resource.get_empty().merge(own).merge(OTELResourceDetector().detect()),
            shutdown_on_exit=False,
        )
        provider.add_span_processor(self._sending)
        self._tracer = provider.get_tracer("offramp", __version__)
        self._own: dict[str, str] = {
            "messaging.system": "kafka",
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.consumer.group.name": group,
            "messaging.client.id": f"offramp-{instance}",
        }

    def committed(
        self,
        records: Sequence[Record],
        outcome: BatchOutcome,
        laps: Mapping[str, Lap],
        *,
        since_1970_s: float,
    ) -> None:
        """Send the span of a committed batch, and one for each of its stages.

        Args:
            records: all records of the batch.
            outcome: what became of them.
            laps: its stages, in order.
            since_1970_s: what to add to their clock.
        """
        times = list(laps.values())
        span = self._span(records, times[0].begun + since_1970_s)
        if span.is_recording():
            span.set_attribute("offramp.predictions", len(outcome.predictions))
            span.set_attribute("offramp.dead_letters", len(outcome.dead_letters))
            inside = trace.set_span_in_context(span)
            for stage, lap in laps.items():
                begun_ns = _ns(lap.begun + since_1970_s)
                child = self._tracer.start_span(stage, inside, start_time=begun_ns)
                child.end(_ns(lap.ended + since_1970_s))
        span.end(_ns(times[-1].ended + since_1970_s))

    def given_back(self, records: Sequence[Record], error: Exception, *, begun_at: float) -> None:
        """Send the span of a batch that could not be committed: it ends now, with an error."""
        span = self._span(records, begun_at)
        span.set_attribute("error.type", type(error).__name__)
        span.set_status(Status(StatusCode.ERROR))
        span.end()

    def close(self) -> None:
        """Send the rest; what nobody takes soon is dropped."""
        closing = threading.Thread(target=self._sending.shutdown, daemon=True)
        closing.start()
        closing.join(_CLOSE_S)

    def _span(self, records: Sequence[Record], begun_at: float) -> Span:
        topics = {record.topic for record in records}
        (topic,) = topics if len(topics) == 1 else ("",)
        place = {"messaging.destination.name": topic} if topic else {}
        return self._tracer.start_span(
            f"process {topic}" if topic else "process",
            kind=SpanKind.CONSUMER,
            attributes={**self._own, **place, "messaging.batch.message_count": len(records)},
            links=list(islice(_links(records), _LINKS)),
            start_time=_ns(begun_at),
        )


def _links(records: Sequence[Record]) -> Iterator[Link]:
    """Yield a link to each span that wrote records of a batch, with the first of its records."""
    seen = set()
    for record in records:
        found = context_of(record.headers) if record.headers else None
        if found is not None and found not in seen:
            seen.add(found)
            place: Attributes = {
                "messaging.destination.name": record.topic,
                "messaging.destination.partition.id": str(record.partition),
                "messaging.kafka.offset": record.offset,
            }
            trace_id, span_id, flags = found
            context = SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(flags))
            yield Link(context, place)


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)
