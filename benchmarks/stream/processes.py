"""`offramp worker --processes N` on one machine: how many processes fill its CPU or its GPU."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kafka import KafkaAdminClient
from kafka.errors import RetriableError

from benchmarks.engine.model import workload
from benchmarks.report import Report, Table
from benchmarks.stream.load import cycled, fill
from benchmarks.stream.parts import DOMAINS
from benchmarks.stream.size import Size
from benchmarks.stream.topics import create_topics
from benchmarks.stream.worker import DEAD_LETTERS
from consumer.entry import own_command
from deploy.local.services import Services

_GPU_EVENTS = 400_000
_JOIN_S, _STOP_S, _LOOK_S = 120.0, 60.0, 0.1
_TOPIC, _OUTPUT = "processes", "processes.out"


def shared(  # noqa: PLR0913, PLR0917  (what runs, and where)
    report: Report, services: Services, model: Path, device: str, most: int, size: Size
) -> None:
    """Add the events a second of 1, 2, 4, .. and `most` processes that share this machine."""
    events = _GPU_EVENTS if device == "cuda" else size.job_events
    short = workload("short", 256).texts
    texts = [(DOMAINS[i % len(DOMAINS)], text) for i, text in enumerate(short)]
    partitions = 2 * most
    fill(services.kafka, _TOPIC, cycled(texts, events), partitions=partitions)
    create_topics(services.kafka, {_OUTPUT: partitions})
    rows = []
    for count in _counts(most):
        group = f"processes-{count}"
        with _running(services, model, device, count, group):
            rate = committed_rate(services.kafka, group, count, seconds=size.job_seconds)
        rows.append((count, round(rate), round(rate / count)))
    columns = ("processes", "events a second", "events a second and process")
    title = f"Processes that share one machine, {model.name}, {device}"
    report.tables.append(Table(title, columns, tuple(rows)))
    report.notes.append(
        f"Processes: {events:,} events as long as short news, exits as learnt on the way, "
        f"{partitions} partitions, over {size.job_seconds:g} s once all had joined; broker and "
        f"Redis share the {os.cpu_count()} cores."
    )


def _counts(most: int) -> list[int]:
    return sorted({most, *(2**i for i in range(most.bit_length()) if 2**i < most)})


@contextmanager
def _running(
    services: Services, model: Path, device: str, count: int, group: str
) -> Iterator[None]:
    settings = {
        "model.device": device,
        "kafka.dead_letters": DEAD_LETTERS,
        "batch.max_events": 1024 if device == "cuda" else 256,
        "policy.name": group,
        "routes": f'[{{"topics": "{_TOPIC}", "domain": "field:domain", "output": "{_OUTPUT}"}}]',
    }
    process = subprocess.Popen(  # noqa: S603  (ourselves)
        own_command(
            "worker", "--processes", str(count), "--instance", group, "--group", group,
            "--model", str(model), "--log-level", "error",
            "--bootstrap-servers", services.kafka, "--redis-url", services.redis,
            *(part for name, value in settings.items() for part in ("--set", f"{name}={value}")),
        )
    )  # fmt: skip
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def committed_rate(bootstrap: str, group: str, count: int, *, seconds: float) -> float:
    """Return the committed events a second, from when all processes had joined and committed.

    Raises:
        RuntimeError: they did not within two minutes, or all events were gone by then.
    """
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        patience = time.monotonic() + _JOIN_S
        while not _all_at_work(admin, group, count):
            if time.monotonic() > patience:
                raise RuntimeError(f"{count} processes did not join within {_JOIN_S:g} s")
            time.sleep(_LOOK_S)
        marks = [(time.monotonic(), _done(admin, group))]
        while marks[-1][0] - marks[0][0] < seconds:
            time.sleep(_LOOK_S)
            marks.append((time.monotonic(), _done(admin, group)))
    finally:
        admin.close()
    last = max(done for _, done in marks)
    begun, ended = marks[0], next(mark for mark in marks if mark[1] == last)
    if ended[0] <= begun[0]:
        raise RuntimeError(f"nothing was committed after {count} processes had joined")
    return (ended[1] - begun[1]) / (ended[0] - begun[0])


def _all_at_work(admin: KafkaAdminClient, group: str, count: int) -> bool:
    try:
        return (
            len(admin.describe_groups([group])[group]["members"]) >= count
            and _done(admin, group) > 0
        )
    except RetriableError:  # a new Kafka makes its topic of offsets when it is first asked
        return False


def _done(admin: KafkaAdminClient, group: str) -> int:
    found = admin.list_group_offsets([group])[group]
    return sum(max(0, place.offset) for place in found.values())
