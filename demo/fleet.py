"""The demo's moving parts: worker processes, a feeder, and a reader of the predictions."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import orjson
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from consumer.entry import own_command

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from demo.texts import DemoEvent
    from deploy.local.guarded import GuardedFolder

_STOP_S = 20.0
AHEAD = 2048  # events: four full batches for each of two workers
_PAUSE_S = 0.05


class WorkerDied(Exception):
    """A worker of the demo ended by itself."""


@contextmanager
def workers(
    count: int, environ: Mapping[str, str], folder: GuardedFolder
) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Run `offramp worker` processes; at the end they are asked to stop, and made to if need be."""
    running: dict[Path, subprocess.Popen[bytes]] = {}
    try:
        for name in [f"worker-{i}" for i in range(count)]:
            pid_file = folder.path / f"{name}.pid"
            running[pid_file] = folder.spawn(
                own_command("worker", "--instance", name),
                pid_file=pid_file,
                log_file=folder.path / f"{name}.log",
                environ={**os.environ, **environ, "OMP_NUM_THREADS": str(threads_each(count))},
            )
        yield list(running.values())
    finally:
        _stop(running)


def threads_each(workers: int) -> int:
    """Return how many threads each worker computes with."""
    return max(1, (os.cpu_count() or 1) // workers)


def _stop(running: Mapping[Path, subprocess.Popen[bytes]]) -> None:
    """Ask processes to end and wait; kill those that do not in time."""
    for process in running.values():
        process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + _STOP_S
    for pid_file, process in running.items():
        try:
            process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        pid_file.unlink(missing_ok=True)


def check_alive(running: Iterable[subprocess.Popen[bytes]], logs: Path) -> None:
    """Raise WorkerDied, with the end of its log, if a worker has ended."""
    for i, process in enumerate(running):
        if process.poll() is not None:
            tail = (logs / f"worker-{i}.log").read_text(errors="replace").splitlines()[-8:]
            raise WorkerDied(f"worker-{i} ended with {process.returncode}:\n" + "\n".join(tail))


@contextmanager
def feeding(
    bootstrap_servers: str,
    topic_of: Callable[[str], str],
    events: Iterable[DemoEvent],
    *,
    done: Callable[[], int],
) -> Iterator[None]:
    """Write the events to their domains' topics, in a thread; at the end it writes no more.

    Only so many are written ahead of those that are `done` that all domains go on side by side.
    """
    over = threading.Event()

    def paced() -> Iterator[DemoEvent]:
        for n, event in enumerate(events):
            while n - done() >= AHEAD and not over.wait(_PAUSE_S):
                pass
            if over.is_set():
                return
            yield event

    feeder = threading.Thread(
        target=_feed, args=(bootstrap_servers, topic_of, paced()), daemon=True
    )
    feeder.start()
    try:
        yield
    finally:
        over.set()
        feeder.join(_STOP_S)


def _feed(
    bootstrap_servers: str, topic_of: Callable[[str], str], events: Iterable[DemoEvent]
) -> None:
    producer = KafkaProducer(bootstrap_servers=bootstrap_servers, acks="all", linger_ms=20)
    try:
        for event in events:
            producer.send(topic_of(event.domain), key=event.id.encode(), value=event.value)
        producer.flush(timeout=30)
    finally:
        producer.close(timeout=10)


@contextmanager
def following(
    bootstrap_servers: str, topic: str
) -> Iterator[Callable[[float], list[dict[str, object]]]]:
    """Yield what returns the records that are committed to a topic within some seconds."""
    with _reader(bootstrap_servers, topic) as (consumer, _):

        def read(seconds: float) -> list[dict[str, object]]:
            found: list[dict[str, object]] = []
            until = time.monotonic() + seconds
            while (left := until - time.monotonic()) > 0:
                for rows in consumer.poll(timeout_ms=1 + int(1000 * left)).values():
                    found.extend(orjson.loads(row.value) for row in rows)
            return found

        yield read


def read_all(bootstrap_servers: str, topic: str) -> list[dict[str, object]]:
    """Return everything committed to a topic so far."""
    with _reader(bootstrap_servers, topic) as (consumer, partitions):
        ends = consumer.end_offsets(partitions)
        found: list[dict[str, object]] = []
        while any(consumer.position(tp) < ends[tp] for tp in partitions):
            for rows in consumer.poll(timeout_ms=200).values():
                found.extend(orjson.loads(row.value) for row in rows)
        return found


@contextmanager
def _reader(
    bootstrap_servers: str, topic: str
) -> Iterator[tuple[KafkaConsumer, list[TopicPartition]]]:
    """Yield a client that reads a topic from its start, and the topic's partitions."""
    consumer = KafkaConsumer(
        bootstrap_servers=bootstrap_servers,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    try:
        partitions = [
            TopicPartition(topic, p) for p in sorted(consumer.partitions_for_topic(topic) or ())
        ]
        consumer.assign(partitions)
        yield consumer, partitions
    finally:
        consumer.close()
