"""Topics full of events, and a process that sends events at a steady rate and times the answers."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson
from kafka import KafkaConsumer, KafkaProducer

from benchmarks.stream.topics import create_topics

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

PARTITIONS = 4
_TICK_S = 0.002
_PATIENCE_S = 10.0


@dataclass(frozen=True, slots=True)
class Load:
    """Events to be sent at a steady rate."""

    bootstrap: str
    topic: str
    output: str
    texts: tuple[tuple[str, str], ...]  # domain and text
    rate: float  # events a second
    warm_up_s: float
    seconds: float


def fill(
    bootstrap: str, topic: str, events: Iterator[bytes], *, partitions: int = PARTITIONS
) -> None:
    """Create a topic and write events, evenly over its partitions."""
    create_topics(bootstrap, {topic: partitions})
    producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all", linger_ms=20)
    for i, value in enumerate(events):
        producer.send(topic, key=f"k{i}".encode(), value=value, partition=i % partitions)
        if i % 1000 == 0:
            producer.flush(timeout=30)  # its buffer has no bound
    producer.flush(timeout=30)
    producer.close()


def latencies_ms(load: Load, while_it_runs: Callable[[Callable[[], bool]], object]) -> list[float]:
    """Return how long each event took until a `read_committed` reader had its prediction.

    Args:
        load: what to send, from a separate process; both topics exist.
        while_it_runs: called with what tells whether that process is done.

    Raises:
        RuntimeError: answers are missing.
    """
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe()
    process = context.Process(target=_send_and_read, args=(load, theirs), daemon=True)
    process.start()
    try:
        while_it_runs(lambda: mine.poll() or not process.is_alive())
        found: list[float] = mine.recv() if mine.poll() else []
    finally:
        process.join(_PATIENCE_S)
    if not found:
        raise RuntimeError(f"predictions of {load.topic} did not come")
    return found


def _send_and_read(load: Load, answer: Connection) -> None:
    consumer = KafkaConsumer(
        load.output,
        bootstrap_servers=load.bootstrap,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
    )
    total = int(load.rate * (load.warm_up_s + load.seconds))
    sent = threading.Event()
    threading.Thread(target=_send, args=(load, total, sent), daemon=True).start()
    begun_ms, received, found = time.time() * 1000, 0, []
    last = time.monotonic()
    while received < total:
        rows = [row for some in consumer.poll(timeout_ms=100).values() for row in some]
        now_ms = time.time() * 1000
        for row in rows:
            at_ms = orjson.loads(row.value)["timestamp"]
            if at_ms >= begun_ms + load.warm_up_s * 1000:
                found.append(now_ms - at_ms)
        received += len(rows)
        if rows or not sent.is_set():
            last = time.monotonic()
        elif time.monotonic() - last > _PATIENCE_S:
            return
    answer.send(found)


def _send(load: Load, total: int, sent: threading.Event) -> None:
    producer = KafkaProducer(bootstrap_servers=load.bootstrap, acks="all", linger_ms=5)
    begun, i = time.monotonic(), 0
    while i < total:
        due = min(total, int((time.monotonic() - begun) * load.rate))
        for number in range(i, due):
            domain, text = load.texts[number % len(load.texts)]
            producer.send(load.topic, value=event(number, domain, text, at_s=time.time()))
        i = due
        time.sleep(_TICK_S)
    producer.flush(timeout=30)
    producer.close()
    sent.set()


def event(number: int, domain: str, text: str, *, at_s: float | None = None) -> bytes:
    """Return one event of a topic."""
    fields = {"id": f"e{number}", "domain": domain, "text": text}
    return orjson.dumps(fields if at_s is None else {**fields, "timestamp": int(at_s * 1000)})


def cycled(texts: Sequence[tuple[str, str]], count: int) -> Iterator[bytes]:
    """Yield so many events, the texts over and over."""
    for i in range(count):
        yield event(i, *texts[i % len(texts)])
