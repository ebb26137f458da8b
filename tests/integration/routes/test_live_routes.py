"""Routes that change under running workers, on a real Kafka and a real Redis."""

import re
import threading
import time
from collections import Counter

import pytest

from consumer.errors import StreamUnavailable
from consumer.kafka.stream import KafkaStream
from consumer.routes.watch import RouteWatch
from consumer.settings.load import load_settings
from consumer.settings.sections import BatchSettings, KafkaSettings
from deploy.local.services import start_redis
from policy_state.store.redis.store import RedisStore
from tests.support.memory.positions import MemoryPositions
from tests.support.topics import create_topics
from tests.support.workers.routed_fleet import METADATA_MAX_AGE_S, RoutedFleet

SECONDS = 60


@pytest.fixture
def fleet(kafka, redis_url, model_folder, tmp_path):
    fleet = RoutedFleet(kafka, redis_url, model_folder, tmp_path)
    yield fleet
    fleet.kill()


def test_workers_follow_routes_and_new_topics_without_a_restart(fleet):
    """A route, then its topic, come under two workers: all is predicted; without it nothing is.

    A route that comes back continues where it was, even after Kafka forgot the offsets.
    """
    idle = ["--name", "idle", "--domain", "fixed:idle", "--to", fleet.out, "--yes"]
    fleet.offramp("route", "add", rf"{fleet.name}\.idle", *idle)
    fleet.offramp("route", "remove", "texts", "--yes")  # it reads topics of other tests
    fleet.start("a", "b")
    pattern = rf"{fleet.name}\.(?P<domain>.+)"
    fleet.route("add", pattern, "--name", "mine", "--to", fleet.out, "--cost-weight", "0.3")
    fleet.route("remove", "idle")
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
            revision = store.routes(fleet.name).revision
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
        stream = KafkaStream(
            settings,
            instance=name,
            topics=rf"^(?:{prefix}\..+)$",
            store=MemoryPositions(),
        )
        streams[name] = stream
        while not stop.is_set():
            try:
                stream.collect(BatchSettings())
            except StreamUnavailable:  # as a worker does
                stream.rewind([])
        stream.close()

    threads = [threading.Thread(target=read, args=(name,), daemon=True) for name in "ab"]
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
            thread.join(30)
            assert not thread.is_alive(), "a stream is not read to its end"


def write(store, *routes, revision):
    store.write_routes(
        "offramp", routes, revision=revision, action="add", detail={}, by="anna", reason=""
    )


def test_a_watch_keeps_the_last_routes_while_the_store_is_away():
    """A server that ends takes no route away; what it tells when it is back is taken."""
    with start_redis() as server, RedisStore(server.url, timeout_s=0.3) as store:
        write(store, {"name": "x", "topics": "x"}, revision=0)
        watch = RouteWatch(load_settings().group_routes, store, instance="w-1")
        server.pause()
        watch.look()
        assert watch.latest.names == ("x",)
        server.resume()
        write(store, {"name": "y", "topics": "y"}, revision=1)
        watch.look()
        assert watch.latest.names == ("y",)
