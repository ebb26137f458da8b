"""Routes that change under running workers, on a real Kafka and a real Redis."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import orjson
import pytest
from kafka import KafkaAdminClient, KafkaProducer, TopicPartition

from consumer.errors import StreamUnavailable
from consumer.kafka.stream import KafkaStream
from consumer.kafka.topics import create_topics
from consumer.routes.watch import RouteWatch
from consumer.settings.load import load_settings
from consumer.settings.sections import BatchSettings, KafkaSettings
from deploy.local.services import start_redis
from policy_state.store.redis.store import RedisStore
from tests.support.kafka_records import committed_records
from tests.support.tiny_model import write_tiny_model

SECONDS = 60
METADATA_MAX_AGE_S = 3


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("model"))


class Fleet:
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
        self.workers = {}
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


@pytest.fixture
def fleet(kafka, redis_url, model_folder, tmp_path):
    fleet = Fleet(kafka, redis_url, model_folder, tmp_path)
    yield fleet
    fleet.kill()


def test_workers_follow_routes_and_new_topics_without_a_restart(fleet):
    """A route, then its topic, come under two workers: all is predicted; without it nothing is.

    Where it comes back it goes on where it was, also after Kafka has forgotten the group's offsets.
    """
    fleet.start("a", "b")
    pattern = rf"{fleet.name}\.(?P<domain>.+)"
    fleet.route("add", pattern, "--name", "mine", "--to", fleet.out, "--cost-weight", "0.3")
    fleet.route("remove", "texts")  # other tests' topics, which count in the share of each worker
    films, hotels = f"{fleet.name}.films", f"{fleet.name}.hotels"
    create_topics(fleet.kafka, {films: 4})
    fleet.produce(films, 0, 200)
    fleet.wait_for(lambda: len(fleet.predictions()) == 200)
    assert {p["domain"] for p in fleet.predictions()} == {"films"}
    fleet.wait_for(lambda: fleet.readers(films) == {"a": 2, "b": 2})

    create_topics(fleet.kafka, {hotels: 4})
    begun = time.monotonic()
    fleet.produce(hotels, 200, 300)
    fleet.wait_for(lambda: len(fleet.predictions()) == 300)
    assert time.monotonic() - begun < 30
    fleet.wait_for(lambda: fleet.readers(hotels) == {"a": 2, "b": 2})

    fleet.route("remove", "mine")
    fleet.wait_for(lambda: not fleet.readers(films) and not fleet.readers(hotels))
    fleet.produce(films, 300, 350)
    time.sleep(3)
    assert len(fleet.predictions()) == 300
    fleet.forget_offsets(films, partitions=4)  # as Kafka does when the route stays away for a week

    fleet.route("add", films, "--to", fleet.out, "--domain", "field:meta.source")
    fleet.wait_for(lambda: len(fleet.predictions()) == 350)
    assert {p["domain"] for p in fleet.predictions() if int(p["id"]) >= 300} == {"shop-1"}
    assert fleet.read(fleet.dead) == []
    fleet.stop()


def test_a_route_that_goes_in_the_middle_of_its_texts_loses_none(fleet):
    """No text is lost, predicted twice or a dead letter while its route goes and comes back."""
    topic, total = f"{fleet.name}.films", 3_000
    route = {"name": "mine", "topics": re.escape(topic), "output": fleet.out}
    create_topics(fleet.kafka, {topic: 4})
    with RedisStore(fleet.redis_url) as store:

        def write(*routes):
            revision = store.routes_revision(fleet.name)
            store.write_routes(
                *(fleet.name, routes),
                revision=revision,
                action="test",
                detail={},
                by="anna",
                reason="",
            )

        write(route)
        fleet.start("a", "b")
        fleet.wait_for(lambda: len(fleet.readers(topic)) == 2)
        fleet.produce(topic, 0, total)
        fleet.wait_for(fleet.predictions)
        write()
        fleet.wait_for(lambda: not fleet.readers(topic))
        predicted = len(fleet.predictions())
        assert 0 < predicted < total
        time.sleep(3)
        assert len(fleet.predictions()) == predicted
        write(route)
        fleet.wait_for(lambda: len(fleet.predictions()) == total)
    fleet.stop()
    assert Counter(p["id"] for p in fleet.predictions()) == Counter(map(str, range(total)))
    assert fleet.read(fleet.dead) == []


def test_new_topics_are_shared_by_all_workers_as_they_come(kafka):
    """Each of four new topics is read soon, by both workers: a join begun in one poll ends."""
    prefix = f"n{time.time_ns()}"
    settings = KafkaSettings(
        bootstrap_servers=kafka, group=prefix, metadata_max_age_s=METADATA_MAX_AGE_S
    )
    stop, streams = threading.Event(), {}

    def read(name):
        stream = KafkaStream(settings, instance=name, topics=rf"^(?:{prefix}\..+)$")
        streams[name] = stream
        while not stop.is_set():
            try:
                stream.collect(BatchSettings())
            except StreamUnavailable:  # as a worker does
                stream.rewind([])
        stream.close()

    threads = [threading.Thread(target=read, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    try:
        for count in range(1, 5):
            create_topics(kafka, {f"{prefix}.{count}": 4})
            deadline = time.monotonic() + METADATA_MAX_AGE_S + 20
            shares: list[int] = []
            while shares != [2 * count] * 2:
                assert time.monotonic() < deadline, f"topic {count}: partitions {shares}"
                time.sleep(0.1)
                shares = [len(stream.assigned()) for stream in streams.values()]
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def write(store, *routes, revision):
    store.write_routes(
        "offramp", routes, revision=revision, action="add", detail={}, by="anna", reason=""
    )


def test_a_watch_keeps_the_last_routes_while_the_store_is_away():
    """A server that ends takes no route away; what it tells when it is back is taken."""
    with start_redis() as server, RedisStore(server.url, timeout_s=0.3) as store:
        write(store, {"name": "x", "topics": "x"}, revision=0)
        watch = RouteWatch(load_settings(), store)
        server.pause()
        watch.look()
        assert watch.latest.names == ("x",)
        server.resume()
        write(store, {"name": "y", "topics": "y"}, revision=1)
        watch.look()
        assert watch.latest.names == ("y",)
