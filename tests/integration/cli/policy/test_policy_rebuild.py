"""`offramp policy rebuild` and `doctor` with a real Kafka: what the predictions imply, exactly."""

import json
import os
import subprocess
import sys
import time
from urllib.parse import urlsplit

import redis
from typer.testing import CliRunner

from consumer.cli.app import app
from consumer.routes.table import BUILT_IN
from policy_state.stats import ExitStats
from policy_state.store.redis.store import RedisStore
from policy_state.store.values import PartitionDeltas
from tests.support.policies.predicted_topics import META, World, held, offramp, rebuild
from tests.support.servers.proxies import proxy
from tests.support.topics import create_topics


def test_after_flushall_the_counters_come_back(redis_url: str, world: World) -> None:
    """A lost policy, two thirds of it counted by nobody any more, is what the predictions imply."""
    with RedisStore(redis_url) as store:
        store.open(META)
        world.count(store, 0, 60)
        world.count(store, 60, 150)
        expected = held(store)
        store.server.command("FLUSHALL")
        store.open(META)
        world.count(store, 100, 150)
        done = rebuild(redis_url, world)
        assert held(store) == expected
        assert (done["counted"] + done["known"], done["skipped_predictions"]) == (270, 2)
        assert (done["repeated"], done["beyond"], done["failed_offsets"]) == (0, 0, 0)
        assert rebuild(redis_url, world)["counted"] == 0
        assert store.audit()[0].action == "rebuild"
        doctor = json.loads(offramp(redis_url, world, "doctor", "-o", "json").stdout)
        assert (doctor["healthy"], doctor["log_checked"], doctor["findings"]) == (True, True, [])


def test_predictions_without_a_topic_id_are_of_the_topic_there_is(
    redis_url: str, kafka: str
) -> None:
    """Predictions of versions that wrote none are counted all the same."""
    world = World(kafka)
    try:
        world.predict(with_id=False)
        with RedisStore(redis_url) as store:
            store.open(META)
            assert rebuild(redis_url, world)["counted"] == len(world.texts)
            assert store.watermarks().keys() == {f"{world.topic_id}/0", f"{world.topic_id}/1"}
    finally:
        world.admin.close()


def test_predictions_of_a_topic_that_was_deleted_are_left_out(redis_url: str, world: World) -> None:
    """After a topic was made anew its own predictions count, not those of its predecessor."""
    old = world.topic_id
    world.admin.delete_topics([world.source])
    deadline = time.monotonic() + 30
    while world.source in world.admin.list_topics():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    create_topics(world.kafka, {world.source: 2})
    world.topic_id = world.id_now()
    assert world.topic_id != old
    world.texts = [(p, offset, "new", [1, 0]) for p, offset, _, _ in world.texts]
    world.predict()
    with RedisStore(redis_url) as store:
        store.open(META)
        done = rebuild(redis_url, world)
        assert (done["counted"], done["repeated"]) == (len(world.texts), 0)
        assert done["skipped_predictions"] == len(world.texts) + 4
        assert held(store).keys() == {"new"}


def test_texts_that_are_not_committed_are_left_to_the_workers(redis_url: str, world: World) -> None:
    """A rebuild goes no further than the group's commits."""
    world.commit(50)
    with RedisStore(redis_url) as store:
        store.open(META)
        done = rebuild(redis_url, world)
        assert done["beyond"] == len([t for t in world.texts if t[1] >= 50])
        world.count(store, 50, 150)
        assert store.totals().stats.texts == len(world.texts)
        offramp(redis_url, world, "doctor")


def test_a_rebuild_that_a_worker_came_between_has_to_run_again(
    redis_url: str, world: World
) -> None:
    """Code 4 says that a worker counted some of it meanwhile; the next run has the rest."""
    port = urlsplit(redis_url).port
    assert port is not None
    with (
        RedisStore(redis_url) as store,
        proxy(port) as between,
        redis.Redis.from_url(redis_url) as raw,
        raw.monitor() as monitor,
    ):
        store.open(META)
        words = ["policy", "rebuild", "--topic", world.out[0], "--topic", world.out[1], "--yes"]
        environ = {
            "OFFRAMP_REDIS__URL": redis_url.replace(f":{port}", f":{between.port}"),
            "OFFRAMP_KAFKA__BOOTSTRAP_SERVERS": world.kafka,
            "OFFRAMP_KAFKA__GROUP": world.group,
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "consumer", *words],
            env={**os.environ, **environ},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        commands = (line["command"] for line in monitor.listen())
        next(command for command in commands if "rebuild-begin" in command)
        between.delay_s = 0.5  # so that the worker comes before the next step
        for _ in range(2):  # without watermarks it looks again after the domains
            next(command for command in commands if command.endswith(":wm"))
        world.count(store, 0, 60)
        between.delay_s = 0
        _, said = process.communicate(timeout=60)
        assert process.returncode == 4, said
        assert "run it again" in said
        assert store.totals().stats.texts < len(world.texts)
        assert rebuild(redis_url, world)["failed_offsets"] == 0
        expected = {name: ExitStats.zeros(4) for name in "abc"}
        for partition in (0, 1):
            for name, stats in world.deltas(partition, 0, 150).items():
                expected[name] += stats
        assert held(store) == expected
        offramp(redis_url, world, "doctor")


def test_a_watermark_beyond_the_log_is_found(redis_url: str, world: World) -> None:
    """Counting what Kafka has not got is a problem; a topic that is gone is a note."""
    with RedisStore(redis_url) as store:
        store.open(META)
        world.count(store, 0, 151)  # the log ends with a transaction's marker
        store.apply([PartitionDeltas("gone", 0, 0, 5, {})])
        doctor = offramp(redis_url, world, "doctor", "-o", "json").stdout
        assert [f["subject"] for f in json.loads(doctor)["findings"]] == ["gone/0"]
        world.count(store, 151, 999)
        found = json.loads(offramp(redis_url, world, "doctor", "-o", "json", code=4).stdout)
        problems = [f for f in found["findings"] if f["severity"] == "problem"]
        assert {f["check"] for f in problems} == {"watermark"}
        assert {f["subject"] for f in problems} == {f"{world.topic_id}/0", f"{world.topic_id}/1"}


def test_an_absent_topic_or_group_is_told(redis_url: str, world: World) -> None:
    """A name that is no topic, or no group, ends with its name."""
    with RedisStore(redis_url) as store:
        store.open(META)
        result = CliRunner().invoke(
            app,
            ["policy", "rebuild", "--topic", "absent", "--yes", "-b", world.kafka],
            env={"OFFRAMP_REDIS__URL": redis_url},
        )
        assert "topic absent does not exist" in str(result.exception)
        result = CliRunner().invoke(
            app,
            ["policy", "rebuild", "--topic", world.out[0], "--yes", "-b", world.kafka],
            env={"OFFRAMP_REDIS__URL": redis_url, "OFFRAMP_KAFKA__GROUP": "nobody"},
        )
        assert "group nobody has committed nothing" in str(result.exception)


def test_without_topics_the_outputs_of_all_routes_are_read(redis_url: str, world: World) -> None:
    """None is forgotten; one that does not exist is left out, and a named list tells what is."""
    world.delete(BUILT_IN.output)  # other tests make it
    with RedisStore(redis_url) as store:
        store.open(META)
        routes = [
            {"name": f"r{n}", "topics": f"{world.group}.in{n}", "output": output}
            for n, output in enumerate([*world.out, f"{world.group}.absent"])
        ]
        signed = {"by": "anna", "reason": ""}
        store.write_routes(world.group, routes, revision=0, action="a", detail={}, **signed)
        named = offramp(redis_url, world, "rebuild", "--topic", world.out[0], code=3).stderr
        assert f"beware: routes write to {world.out[1]}, too" in named
        said = offramp(redis_url, world, "rebuild", "--fresh", "--yes").stderr
        assert f"from {world.out[0]}, {world.out[1]}\n" in said
        assert store.totals().stats.texts == len(world.texts)
        other, absent = f"{world.group}-other", routes[-1]
        store.write_routes(other, [absent], revision=0, action="a", detail={}, **signed)
        none = offramp(redis_url, world, "rebuild", "--set", f"kafka.group={other}", code=1)
        assert f"no output of a route exists ({world.group}.absent)" in str(none.exception)
