"""The whole worker beside a bare Kafka loop and beside a plain transformers pipeline.

python -m benchmarks.stream --quick
python -m benchmarks.stream --out benchmarks/results
"""

from __future__ import annotations

import argparse
import random
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import orjson
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.structs import OffsetAndMetadata

from benchmarks.free_model import FreeModel
from benchmarks.report import Goal, Report, Table
from consumer.kafka_stream import Batch, KafkaStream
from consumer.route_watch import RouteWatch
from consumer.routes import subscription
from consumer.settings import Settings, load_settings
from consumer.topics import create_topics
from consumer.transactions import Outgoing
from consumer.wiring import Inference, open_policy
from consumer.worker import Worker
from deploy.local.services import Services, local_services
from policy_state.backends.redis import RedisStore

PARTITIONS = 4
EVENT_BYTES = 512
DOMAINS = ("films", "hotels", "news", "shops")
BATCHES = (256, 1024)


def main() -> None:
    """Measure, print, and write the results where asked."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.stream",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="fewer events and rounds")
    parser.add_argument("--rounds", type=int, default=5, help="pairs of runs (%(default)s)")
    parser.add_argument("--events", type=int, default=20_000, help="events a run (%(default)s)")
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table")
    parser.add_argument("--out", type=Path, help="folder to write stream.json and stream.md to")
    args = parser.parse_args()
    if args.quick:
        args.rounds, args.events = 1, 6_000
    report = Report("stream")
    with local_services() as services:
        plumbing(report, services, events=args.events, rounds=args.rounds)
    print(report.to_json() if args.output == "json" else report.to_markdown())
    if args.out:
        report.write(args.out)


def plumbing(report: Report, services: Services, *, events: int, rounds: int) -> None:
    """Compare the worker with a free model to a transactional copy loop."""
    topic = f"texts.b{time.time_ns()}"
    create_topics(services.kafka, {topic: PARTITIONS, "bench.out": PARTITIONS, "bench.dead": 1})
    produce(services.kafka, topic, events)
    rows = []
    for batch in BATCHES:
        rates: dict[str, list[float]] = {"bare loop": [], "offramp": []}
        for _ in range(rounds):
            rates["bare loop"].append(bare_loop(services.kafka, topic, events, batch))
            rates["offramp"].append(worker_rate(services, topic, events, batch, FreeModel()))
        ratio = statistics.median(
            ours / theirs for ours, theirs in zip(rates["offramp"], rates["bare loop"], strict=True)
        )
        rows += [(name, batch, round(statistics.median(values))) for name, values in rates.items()]
        report.goals.append(
            Goal.at_least(f"plumbing over a bare loop, batches of {batch}", 0.8, ratio)
        )
    report.tables.append(
        Table("Plumbing", ("who", "events a batch", "events a second"), tuple(rows))
    )
    report.notes.append(
        f"{events} events of {EVENT_BYTES} bytes, {PARTITIONS} partitions, one process each. Both "
        "read, write and commit in transactions; Offramp also parses, routes, decides, encodes and "
        "counts in Redis. Broker and Redis share the machine."
    )


def produce(bootstrap: str, topic: str, events: int) -> None:
    """Write events of a fixed size, evenly over partitions and domains."""
    producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all", linger_ms=20)
    rng = random.Random(0)
    for i in range(events):
        event = {"id": f"e{i}", "domain": rng.choice(DOMAINS), "text": ""}
        event["text"] = "x" * (EVENT_BYTES - len(orjson.dumps(event)))
        key = f"k{i}".encode()
        producer.send(topic, key=key, value=orjson.dumps(event), partition=i % PARTITIONS)
        if i % 1000 == 0:
            producer.flush(timeout=30)
    producer.flush(timeout=30)
    producer.close()


def bare_loop(bootstrap: str, topic: str, events: int, batch: int) -> float:
    """Copy a topic in transactions of `batch` records and return the records a second."""
    name = f"bare-{time.time_ns()}"
    producer = KafkaProducer(
        bootstrap_servers=bootstrap,
        transactional_id=name,
        acks="all",
        linger_ms=0,
        retry_backoff_ms=5,
    )
    producer.init_transactions()
    consumer = KafkaConsumer(
        topic,
        bootstrap_servers=bootstrap,
        group_id=name,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        max_poll_records=batch,
    )
    done, marks = 0, Marks()
    while done < events:
        records = [r for rows in consumer.poll(timeout_ms=500).values() for r in rows]
        if not records:
            continue
        producer.begin_transaction()
        for r in records:
            producer.send("bench.out", key=r.key, value=r.value)
        producer.flush()
        offsets = {
            TopicPartition(r.topic, r.partition): OffsetAndMetadata(r.offset + 1, "", -1)
            for r in records
        }
        producer.send_offsets_to_transaction(offsets, consumer.group_metadata())
        producer.commit_transaction()
        done += len(records)
        marks.add(len(records))
    consumer.close()
    producer.close()
    return marks.rate()


class Marks:
    """When how much was committed; the first commit starts the clock."""

    def __init__(self) -> None:
        self._rows: list[tuple[float, int]] = []

    def add(self, count: int) -> None:
        """Note a commit."""
        self._rows.append((time.perf_counter(), count))

    def total(self) -> int:
        """Return how much was committed."""
        return sum(count for _, count in self._rows)

    def rate(self) -> float:
        """Return the records a second, from the first commit to the last."""
        (begun, first), *rest = self._rows
        return (self.total() - first) / (rest[-1][0] - begun)


class NotedStream(KafkaStream):
    """Notes when how much was committed."""

    def __init__(self, settings: Settings, marks: Marks) -> None:
        super().__init__(
            settings.kafka, instance=settings.instance, topics=subscription(settings.routes or ())
        )
        self._marks = marks

    def commit(
        self, batch: Batch, outgoing: Sequence[Outgoing], *, before_commit: Callable[[], None]
    ) -> None:
        """Commit, then note it."""
        super().commit(batch, outgoing, before_commit=before_commit)
        self._marks.add(len(batch.records))


def worker_rate(
    services: Services, topic: str, events: int, batch: int, engine: Inference
) -> float:
    """Run a worker over a topic and return the records a second."""
    marks, stop = Marks(), threading.Event()
    settings = load_settings(
        options={
            "kafka.bootstrap_servers": services.kafka,
            "kafka.group": f"worker-{time.time_ns()}",
            "kafka.dead_letters": "bench.dead",
            "redis.url": services.redis,
            "policy.name": f"bench-{time.time_ns()}",
            "batch.max_events": batch,
            "batch.max_tokens": 1 << 20,
            "routes": [{"topics": topic, "domain": "field:domain", "output": "bench.out"}],
            "instance": "bench",
        }
    )
    with RedisStore(services.redis) as store:
        stream = NotedStream(settings, marks)
        step, opened = open_policy(settings, engine, store)
        worker = Worker(stream, step, store, opened, settings, RouteWatch(settings, store))
        thread = threading.Thread(target=worker.run, args=(stop,))
        thread.start()
        while marks.total() < events and thread.is_alive():
            time.sleep(0.05)
        stop.set()
        thread.join()
        stream.close()
    return marks.rate()


if __name__ == "__main__":
    main()
