"""Workers that take their routes from Redis, and the commands that change these."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import orjson
from kafka import KafkaAdminClient, KafkaProducer, TopicPartition

from policy_state.store.redis.store import RedisStore
from tests.support.kafka_records import committed_records
from tests.support.topics import create_topics

SECONDS = 60
METADATA_MAX_AGE_S = 3


class RoutedFleet:
    """Two workers that take their routes from Redis."""

    def __init__(self, kafka: str, redis_url: str, model: Path, logs: Path) -> None:
        self.name = f"r{time.time_ns()}"
        self.kafka = kafka
        self.redis_url = redis_url
        self.logs = logs
        self.out, self.dead = f"{self.name}-out", f"{self.name}-dead"
        self.environ = {
            **os.environ,
            "OFFRAMP_KAFKA__BOOTSTRAP_SERVERS": kafka,
            "OFFRAMP_KAFKA__GROUP": self.name,
            "OFFRAMP_KAFKA__DEAD_LETTERS": self.dead,
            "OFFRAMP_KAFKA__METADATA_MAX_AGE_S": str(METADATA_MAX_AGE_S),
            "OFFRAMP_REDIS__URL": redis_url,
            "OFFRAMP_MODEL__PATH": str(model),
            "OFFRAMP_BATCH__MAX_EVENTS": "8",  # so that a change meets batches under way
            "OMP_NUM_THREADS": "1",
        }
        self.workers: dict[str, subprocess.Popen[bytes]] = {}
        create_topics(kafka, {self.out: 2, self.dead: 1})

    def start(self, *names: str) -> None:
        """Start workers and wait until they are seen."""
        for name in names:
            with (self.logs / f"{name}.log").open("ab") as log:
                self.workers[name] = subprocess.Popen(
                    [sys.executable, "-m", "consumer", "worker", "--instance", name],
                    env=self.environ,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
        with RedisStore(self.redis_url) as store:
            self.wait_for(lambda: store.workers().keys() >= set(names))

    def offramp(self, *args: str):
        """Return what a command prints."""
        done = subprocess.run(
            [sys.executable, "-m", "consumer", *args, "-o", "json"],
            env=self.environ,
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()
        return orjson.loads(done.stdout)

    def route(self, *args: str):
        """Change a route, and wait until both workers follow it."""
        changed = self.offramp("route", *args, "--yes")
        version = f"revision {changed['revision']}"
        with RedisStore(self.redis_url) as store:
            self.wait_for(lambda: {w["routes"] for w in store.workers().values()} == {version}, 15)

    def readers(self, topic: str) -> Counter:
        """Return how many partitions of a topic each worker reads."""
        with RedisStore(self.redis_url) as store:
            return Counter(
                instance
                for instance, fields in store.workers().items()
                for partition in fields.get("partitions", "").split(",")
                if partition.startswith(f"{topic}[")
            )

    def produce(self, topic: str, first: int, upto: int) -> None:
        """Write texts whose ids are numbers."""
        producer = KafkaProducer(bootstrap_servers=self.kafka, acks="all", linger_ms=5)
        for i in range(first, upto):
            value = {"id": str(i), "text": "good film .", "meta": {"source": "shop-1"}}
            producer.send(topic, key=str(i).encode(), value=orjson.dumps(value))
        producer.flush(timeout=30)
        producer.close()

    def forget_offsets(self, topic: str, *, partitions: int) -> None:
        """Delete what the group has committed of a topic that it reads no longer."""
        with KafkaAdminClient(bootstrap_servers=self.kafka) as admin:
            gone = admin.delete_group_offsets(
                self.name, [TopicPartition(topic, number) for number in range(partitions)]
            )
        assert {error.errno for error in gone.values()} == {0}

    def read(self, topic: str):
        """Return the committed records of a topic."""
        return committed_records(self.kafka, topic)

    def predictions(self):
        """Return the committed predictions."""
        return [orjson.loads(record.value) for record in self.read(self.out)]

    def wait_for(self, condition, timeout_s=SECONDS):
        """Return once it is true; fail with the logs where it is not in time."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            logs = "\n".join(self.log(name)[-1500:] for name in self.workers)
            assert time.monotonic() < deadline, f"not true after {timeout_s} s\n{logs}"
            time.sleep(0.2)

    def log(self, name: str) -> str:
        return (self.logs / f"{name}.log").read_text(errors="replace")

    def stop(self) -> None:
        for process in self.workers.values():
            process.send_signal(signal.SIGTERM)
        assert [process.wait(40) for process in self.workers.values()] == [0] * len(self.workers)

    def kill(self) -> None:
        """End those that run still."""
        for process in self.workers.values():
            if process.poll() is None:
                process.kill()
                process.wait()
