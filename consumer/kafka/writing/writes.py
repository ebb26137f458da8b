"""The writing of one transaction, and by how it fails which topic or record is to blame."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from kafka import errors as kafka_errors

from consumer.errors import RecordsTooLarge, StreamUnavailable, TopicRefused
from consumer.kafka.targets import missing, refusal, unseen
from consumer.kafka.writing.bulk import Sent, hand_over

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kafka import KafkaProducer

    from consumer.events.outgoing import Outgoing

_LOOK_S: Final = 1.0  # what a broker that answers does not tell of in this time is not there
_SIZE_MARGIN_BYTES: Final = 64  # of what a record takes beside its parts
_TOO_LARGE: Final = (kafka_errors.MessageSizeTooLargeError, kafka_errors.RecordListTooLargeError)


class BatchRefused(Exception):
    """A topic or the producer finds something too large; it is not clear what."""


def find(producer: KafkaProducer, topic: str, *, timeout_s: float) -> None:
    """Return if a topic is there; a broker that makes topics by itself is given time to do so.

    Raises:
        TopicRefused: it is not, or may not be seen.
        StreamUnavailable: no broker tells.
    """
    cluster = producer._metadata  # noqa: SLF001  (else a missing topic is waited for in full)
    begun = time.monotonic()
    while not cluster.partitions_for_topic(topic):
        try:
            producer._wait_on_metadata(topic, _LOOK_S * 1000)  # noqa: SLF001
        except kafka_errors.TopicAuthorizationFailedError as error:
            raise unseen(topic) from error
        except kafka_errors.KafkaTimeoutError as error:
            if cluster._last_successful_refresh_ms > begun * 1000:  # noqa: SLF001
                # else it would be asked for ten times a second for as long as it is not there
                cluster._topics = cluster._topics - {topic}  # noqa: SLF001
                raise missing(topic) from error
            if time.monotonic() > begun + timeout_s:
                msg = f"no broker tells of topic {topic} in {timeout_s:g} s"
                raise StreamUnavailable(msg) from error


def write(producer: KafkaProducer, outgoing: Sequence[Outgoing], *, timeout_s: float) -> None:
    """Send everything and wait until it is written.

    Raises:
        BatchRefused: a topic does not take a batch for its size.
        TopicRefused: a topic takes nothing, or not these records.
    """
    sent: list[Sent] = []
    try:
        sent += hand_over(producer, outgoing)
        _flush(producer, sent, timeout_s=timeout_s)
    except kafka_errors.KafkaError as error:
        _check_refusals(sent)
        unclear = (*_TOO_LARGE, kafka_errors.UnknownError)  # unknown: a batch was split
        if any(isinstance(cause, unclear) for cause in (error, *error.args)):
            raise BatchRefused from error
        raise
    _check_refusals(sent)
    failures = [error for batch in sent for error in batch.errors]
    split = any(not batch.is_done for batch in sent)  # for its size, before the flush began
    if split or any(isinstance(failure, _TOO_LARGE) for failure in failures):
        raise BatchRefused
    if failures:
        raise failures[0]


def write_singly(
    producer: KafkaProducer, outgoing: Sequence[Outgoing], *, timeout_s: float
) -> None:
    """Write each record as a batch of its own.

    Where a topic refuses a batch, kafka-python splits it, and in the end calls all of the
    transaction's records too large: so this finds out which one is.

    Raises:
        RecordsTooLarge: with the places of the first that is, and of those larger than it.
        TopicRefused: a topic takes nothing, or not these records.
    """
    for place, item in enumerate(outgoing):
        try:
            sent = _send(producer, item)
            producer.flush(timeout=timeout_s)
            sent.get(timeout_s)
        except _TOO_LARGE as error:
            least = item.size_bytes + _SIZE_MARGIN_BYTES
            larger = [
                i
                for i, other in enumerate(outgoing)
                if other.topic == item.topic and other.size_bytes > least
            ]
            raise RecordsTooLarge((place, *larger)) from error
        except kafka_errors.KafkaError as error:
            if (refused := refusal(item.topic, error)) is not None:
                raise refused from error
            raise


def _send(producer: KafkaProducer, item: Outgoing) -> Any:  # noqa: ANN401  (kafka-python is untyped)
    partition = None
    if item.key is None:
        there = producer.partitions_for(item.topic) or {0}
        partition = item.source_partition % len(there)
    return producer.send(
        item.topic,
        key=item.key,
        value=item.content,
        headers=list(item.headers),
        partition=partition,
    )


def _flush(producer: KafkaProducer, sent: Sequence[Sent], *, timeout_s: float) -> None:
    """Wait until all is written, looking now and then whether the topics are there still.

    Raises:
        TopicRefused: one is not, or takes nothing in a time in which others do.
        StreamUnavailable: none of them does.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            producer.flush(timeout=min(_LOOK_S, timeout_s))
        except kafka_errors.KafkaTimeoutError as error:
            waiting = {batch.topic for batch in sent if not batch.is_done}
            for topic in sorted(waiting):
                find(producer, topic, timeout_s=timeout_s)
            if time.monotonic() > deadline:
                written = {batch.topic for batch in sent if batch.is_done}
                if written and (stuck := sorted(waiting - written)):
                    cause = f"takes no record in {timeout_s:g} s, other topics do"
                    advice = "see the brokers that have its copies, and min.insync.replicas"
                    raise TopicRefused(stuck[0], cause, advice) from error
                said = f"records for {', '.join(sorted(waiting))} are not written"
                raise StreamUnavailable(f"{said} in {timeout_s:g} s") from error
            producer._metadata.request_update()  # noqa: SLF001  (the next look is at its answer)
        else:
            return


def _check_refusals(sent: Sequence[Sent]) -> None:
    """Raise TopicRefused where it is for its topic that a record was not written."""
    for batch in sent:
        for error in batch.errors:
            if found := refusal(batch.topic, error):
                raise found from error
