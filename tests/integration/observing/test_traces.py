"""What a worker sends to a receiver of OpenTelemetry traces, and that it needs none to work."""

import signal

import orjson
from kafka import KafkaProducer

from consumer.metrics.catalogue import STAGES
from tests.support.kafka_records import read_topic
from tests.support.servers.collector import Collector, values
from tests.support.workers.fleet import topic_of

WORKER = "tests.support.workers.hanging_worker"  # it starts without torch
TEXT = "a secret good film ."
EVENTS, TRACED = 60, 40


def traceparent(number):
    """Return the header of the producer's span for an event."""
    return b"00-%032x-%016x-01" % (number + 1, number + 1)


def headers_of(number):
    """Return the headers of an event: traced, with a broken trace, or none."""
    own = ("source", b"tests")
    if number < TRACED:
        return [("traceparent", traceparent(number)), ("tracestate", b"a=%d" % number), own]
    return [("traceparent", b"00-nonsense"), ("tracestate", b"a=1")] if number % 2 else []


def send(kafka, topic):
    """Write the events of a test into one partition, all at once."""
    producer = KafkaProducer(bootstrap_servers=kafka, linger_ms=1000)
    for number in range(EVENTS):
        value = orjson.dumps({"id": str(number), "text": TEXT, "domain": "films"})
        producer.send(topic, value, headers=headers_of(number), partition=0)
    producer.flush(30)
    producer.close()


def predictions(fleet, kafka):
    """Return the headers of each prediction, by the number of its event."""
    written = read_topic(kafka, f"{fleet.prefix}-out", want=EVENTS)
    return {int(orjson.loads(record.value)["id"]): list(record.headers) for record in written}


def test_a_batch_is_a_span_with_its_stages_and_links_to_what_wrote_its_events(fleet, kafka):
    """Kind, names and attributes are those of the conventions for messaging; no text is in it.

    A prediction has the trace context of its event, unchanged, and nothing else of its headers.
    """
    topic = topic_of(fleet.prefix, "films")
    with Collector() as collector:
        fleet.environ |= {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_BSP_SCHEDULE_DELAY": "100",
            "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test",
        }
        send(kafka, topic)
        fleet.start("a", WORKER)
        found = predictions(fleet, kafka)
        fleet.running["a"].send_signal(signal.SIGTERM)
        assert fleet.running["a"].wait(60) == 0, fleet.log("a")
    for number, headers in found.items():
        assert headers == (headers_of(number)[:2] if number < TRACED else [])
    batches = [span for span in collector.spans if not span.parent_span_id]
    assert sum(values(span.attributes)["messaging.batch.message_count"] for span in batches) == 60
    for batch in batches:
        about = values(batch.attributes)
        assert about.items() >= {
            ("messaging.system", "kafka"),
            ("messaging.operation.type", "process"),
            ("messaging.operation.name", "process"),
            ("messaging.destination.name", topic),
            ("messaging.consumer.group.name", fleet.prefix),
            ("messaging.client.id", "offramp-a"),
            ("offramp.dead_letters", 0),
        }
        assert (batch.name, batch.kind) == (f"process {topic}", batch.SPAN_KIND_CONSUMER)
        stages = [span for span in collector.spans if span.parent_span_id == batch.span_id]
        assert {span.trace_id for span in stages} == {batch.trace_id}
        assert [span.name for span in stages] == list(STAGES)
        times = [(span.start_time_unix_nano, span.end_time_unix_nano) for span in stages]
        assert times == sorted(times)
        assert all(begun <= ended for begun, ended in times)
        assert batch.start_time_unix_nano == times[0][0]
        assert batch.end_time_unix_nano == times[-1][1]
    links = [link for batch in batches for link in batch.links]
    assert max(len(batch.links) for batch in batches) <= 32
    assert len(links) >= 32
    for link in links:
        number = int(link.trace_id.hex(), 16) - 1
        assert link.span_id.hex() == traceparent(number)[36:52].decode()
        assert values(link.attributes) == {
            "messaging.destination.name": topic,
            "messaging.destination.partition.id": "0",
            "messaging.kafka.offset": number,
        }
    assert collector.resources[0].items() >= {
        ("service.name", "offramp"),
        ("service.instance.id", "a"),
        ("deployment.environment.name", "test"),
    }
    assert b"secret" not in collector.bodies


def test_a_receiver_that_never_answers_holds_up_no_batch(fleet, kafka):
    """Predictions are committed meanwhile, and the worker ends as soon as it is told to."""
    with Collector() as collector:
        collector.answers.clear()
        fleet.environ |= {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_BSP_SCHEDULE_DELAY": "100",
        }
        send(kafka, topic_of(fleet.prefix, "films"))
        fleet.start("a", WORKER)
        assert len(predictions(fleet, kafka)) == EVENTS
        fleet.running["a"].send_signal(signal.SIGTERM)
        assert fleet.running["a"].wait(20) == 0, fleet.log("a")
    assert "Traceback" not in fleet.log("a")
