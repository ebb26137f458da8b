"""`offramp policy rebuild` and `doctor` with a real Kafka: what the predictions imply, exactly."""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from random import Random
from typing import Any
from urllib.parse import urlsplit

import orjson
import pytest
import redis
from kafka import KafkaAdminClient, KafkaProducer, TopicPartition
from kafka.errors import UnknownTopicOrPartitionError
from kafka.structs import OffsetAndMetadata
from typer.testing import CliRunner, Result

from consumer.cli.app import app
from consumer.kafka.topics import log_offsets
from consumer.routes.table import BUILT_IN
from policy_state.stats import ExitStats
from policy_state.store.redis.store import RedisStore
from policy_state.store.values import DomainSnapshot, PartitionDeltas, PolicyMeta
from policy_state.transfer.transfer import export_policy
from tests.support.kafka_admin import set_offsets
from tests.support.servers.proxies import proxy
from tests.support.topics import create_topics

META = PolicyMeta("default", "f1", (1, 3, 7, 12))
TEXTS = 300


class World:
    """An input topic, two topics of predictions, and what workers would have counted."""

    def __init__(self, kafka: str) -> None:
        name = f"r{time.time_ns()}"
        self.kafka, self.group = kafka, name
        self.source, self.out = f"{name}.texts", [f"{name}.out.a", f"{name}.out.b"]
        create_topics(kafka, {self.source: 2, self.out[0]: 2, self.out[1]: 1})
        self.admin = KafkaAdminClient(bootstrap_servers=kafka)
        self.topic_id = self.id_now()
        rng = Random(name)
        self.texts = [
            (number % 2, number // 2, rng.choice("abc"), [rng.randrange(2) for _ in range(3)])
            for number in range(TEXTS)
            if number % 10
        ]

    def delete(self, topic: str) -> None:
        """Delete a topic if there is one, and wait until it is gone."""
        deadline = time.monotonic() + 60
        while topic in self.admin.list_topics():
            assert time.monotonic() < deadline
            with suppress(UnknownTopicOrPartitionError):
                self.admin.delete_topics([topic])
            time.sleep(0.2)

    def id_now(self) -> str:
        """Return the id of the input topic."""
        return str(self.admin.describe_topics([self.source])[0]["topic_id"])

    def predict(self, *, with_id: bool = True) -> None:
        """Write the texts and their predictions as workers do, one transaction aborted."""
        known = {"topic_id": self.topic_id} if with_id else {}
        producer = KafkaProducer(
            bootstrap_servers=self.kafka, transactional_id=self.group, retry_backoff_ms=5
        )
        producer.init_transactions()
        producer.begin_transaction()
        for number in range(TEXTS):
            producer.send(self.source, b"x", partition=number % 2)
        producer.commit_transaction()
        for keep in (False, True):
            producer.begin_transaction()
            for partition, offset, domain, labels in self.texts:
                body = {
                    "domain": domain,
                    "exit_labels": labels,
                    "model": "f1",
                    "source": {"topic": self.source, "partition": partition, "offset": offset}
                    | known,
                }
                producer.send(self.out[offset % 2], orjson.dumps(body))
            producer.send(self.out[0], orjson.dumps(body | {"model": "another"}))
            producer.send(self.out[0], b"not JSON")
            if keep:
                producer.commit_transaction()
            else:
                producer.abort_transaction()
        producer.close()
        self.commit(TEXTS // 2)

    def commit(self, offset: int) -> None:
        """Commit the group's offsets in both partitions."""
        offsets = {
            TopicPartition(self.source, p): OffsetAndMetadata(offset, "", -1) for p in (0, 1)
        }
        set_offsets(self.admin, self.group, offsets)

    def deltas(self, partition: int, first: int, upto: int) -> dict[str, ExitStats]:
        """Return what some of the texts add."""
        sums: dict[str, ExitStats] = {}
        for p, offset, domain, labels in self.texts:
            if p == partition and first <= offset < upto:
                one = ExitStats.from_labels(labels, exits=4)
                sums[domain] = sums[domain] + one if domain in sums else one
        return sums

    def count(self, store: RedisStore, first: int, upto: int) -> None:
        """Count texts of both partitions as a worker does."""
        store.apply(
            [
                PartitionDeltas(self.topic_id, p, first, upto, self.deltas(p, first, upto))
                for p in (0, 1)
            ]
        )


@pytest.fixture
def world(kafka: str) -> Iterator[World]:
    """Yield topics with predictions in them."""
    made = World(kafka)
    try:
        made.predict()
        yield made
    finally:
        made.admin.close()


def offramp(redis_url: str, world: World, *args: str, code: int = 0) -> Result:
    """Run `offramp policy`."""
    environ = {
        "OFFRAMP_REDIS__URL": redis_url,
        "OFFRAMP_KAFKA__BOOTSTRAP_SERVERS": world.kafka,
        "OFFRAMP_KAFKA__GROUP": world.group,
    }
    result = CliRunner().invoke(app, ["policy", *args], env=environ)
    assert result.exit_code == code, (result.output, result.exception)
    return result


def rebuild(redis_url: str, world: World, *args: str) -> dict[str, Any]:
    """Run a rebuild from both topics and return what it says of itself."""
    topics = [word for topic in world.out for word in ("--topic", topic)]
    result = offramp(redis_url, world, "rebuild", *topics, "--yes", "-o", "json", *args)
    (row,) = json.loads(result.stdout)["rebuilds"]
    return dict(row)


def held(store: RedisStore) -> dict[str, ExitStats]:
    """Return the counters of all domains."""
    return {name: record.stats for name, record in store.read(store.domains()).items()}


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


def test_damaged_counters_are_counted_afresh(redis_url: str, world: World) -> None:
    """`--fresh` forgets what is stored and counts everything from the predictions."""
    with RedisStore(redis_url) as store:
        store.open(META)
        world.count(store, 0, 150)
        expected = held(store)
        keys, _ = store.bound()
        store.server.command("HSET", keys.domain("a"), "0", "999999 0 0")
        store.server.command("HSET", keys.domain("b"), "1", "abc")
        offramp(redis_url, world, "doctor", "--no-log", code=4)
        assert rebuild(redis_url, world, "--fresh")["counted"] == 270
        assert held(store) == expected
        offramp(redis_url, world, "doctor")


@pytest.mark.parametrize(
    ("key", "field", "value"),
    [("agg", "0", "abc"), ("wm", "{id}/0", "-5"), ("gaps", "{id}/1", "9-x"), ("d:a", "1", "x")],
)
def test_unreadable_values_are_counted_afresh(
    redis_url: str, world: World, key: str, field: str, value: str
) -> None:
    """`--fresh` repairs what no other command can read, whichever key it is in."""
    with RedisStore(redis_url) as store:
        store.open(META)
        world.count(store, 0, 150)
        expected = held(store)
        keys, _ = store.bound()
        field = field.format(id=world.topic_id)
        store.server.command("HSET", keys.key(key), field, value)
        offramp(redis_url, world, "doctor", "--no-log", code=4)
        assert rebuild(redis_url, world, "--fresh")["counted"] == 270
        assert held(store) == expected
        offramp(redis_url, world, "doctor")


def test_a_rebuild_that_cannot_begin_changes_nothing(redis_url: str, world: World) -> None:
    """`--fresh` with no broker, an absent topic or group, or too long a reason: counters stay."""
    wrong = [
        (["--topic", "absent"], world.kafka, world.group),
        (["--topic", world.out[0]], world.kafka, "nobody"),
        (["--topic", world.out[0], "--reason", "x" * 201], world.kafka, world.group),
        (["--topic", world.out[0]], "127.0.0.1:1", world.group),
    ]
    with RedisStore(redis_url) as store:
        store.open(META)
        world.count(store, 0, 150)
        before = export_policy(store)
        for options, servers, group in wrong:
            environ = {"OFFRAMP_REDIS__URL": redis_url, "OFFRAMP_KAFKA__GROUP": group}
            args = ["policy", "rebuild", *options, "-b", servers, "--fresh", "--yes"]
            args += ["--set", "kafka.request_timeout_s=1"]
            # In a process of its own: a client that finds no broker leaves sockets open.
            failed = subprocess.run(
                [sys.executable, "-m", "consumer", *args],
                env={**os.environ, **environ},
                capture_output=True,
                text=True,
                check=False,
            )
            assert (failed.returncode, "error: " in failed.stderr) == (1, True), failed.stderr
            assert "Traceback" not in failed.stderr
            assert (export_policy(store), store.audit()) == (before, ())
        assert rebuild(redis_url, world, "--fresh", "--by", "anna")["counted"] == 270
        assert [(e.action, e.by) for e in store.audit()] == [
            ("rebuild", "anna"),
            ("rebuild-begin", "anna"),
            ("restart", "anna"),
        ]


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


def test_fresh_forgets_no_domain_that_it_has_not_seen(redis_url: str, world: World) -> None:
    """With a topic forgotten nothing is set to zero, unless that is asked for; numbers are told."""
    only_a = ("rebuild", "--topic", world.out[0], "--fresh", "--yes")
    with RedisStore(redis_url) as store:
        store.open(META)
        world.count(store, 0, 150)
        brought = {"elsewhere": DomainSnapshot(ExitStats.from_labels([0], exits=4), 0, None)}
        store.load(brought, replace=True)
        before = held(store)
        refused = offramp(redis_url, world, *only_a, code=1)
        found = Counter(domain for _, offset, domain, _ in world.texts if offset % 2 == 0)
        total = Counter(domain for _, _, domain, _ in world.texts)
        said = str(refused.exception)
        assert "4 domains have counted 136 texts more than predictions" in said, said
        assert "elsewhere (1 counted, 0 found)" in said
        assert f"a ({total['a']} counted, {found['a']} found)" in said
        assert "--drop-unseen" in str(refused.exception)
        assert (held(store), store.audit()) == (before, ())
        told = offramp(redis_url, world, *only_a, "--drop-unseen").stderr
        assert "forgotten: 4 domains have counted" in told
        assert held(store)["elsewhere"].texts == 0


def test_fresh_takes_what_retention_took_and_no_more(redis_url: str, world: World) -> None:
    """Domains shrink by what the logs have lost, and that is told; by more they do not."""
    fresh = ("rebuild", "--topic", world.out[0], "--topic", world.out[1], "--fresh", "--yes")
    with RedisStore(redis_url) as store:
        store.open(META)
        world.count(store, 0, 150)
        log = TopicPartition(world.out[1], 0)
        end = log_offsets(world.admin, [log])[log]  # behind a marker of its 135 predictions
        world.admin.delete_records({log: end - 1 - 135 + 20})
        assert "beware: " in (told := offramp(redis_url, world, *fresh).stderr)
        assert "have counted 20 texts more than predictions" in told, told
        assert store.totals().stats.texts == len(world.texts) - 20
        before = held(store)
        brought = ExitStats.from_texts([[0]] * end, exits=4)
        store.load({"a": DomainSnapshot(before["a"] + brought, 0, None)}, replace=True)
        refused = str(offramp(redis_url, world, *fresh, code=1).exception)
        assert f"1 domain has counted {end} texts more" in refused
        assert f"retention took at most {end - 116} records" in refused
        assert held(store) == before | {"a": before["a"] + brought}


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


def test_a_lost_watermark_is_mended_by_a_fresh_rebuild(redis_url: str, world: World) -> None:
    """The doctor finds it with the command, a rebuild refuses unasked, --fresh counts anew."""
    with RedisStore(redis_url) as store:
        store.open(META)
        world.count(store, 0, 150)
        expected = held(store)
        store.server.command("DEL", store.bound()[0].key("wm"))
        found = json.loads(offramp(redis_url, world, "doctor", "-o", "json", code=4).stdout)
        assert {f["check"]: f["mend"] for f in found["findings"]} == {
            "watermark": "offramp policy rebuild --fresh"
        }
        refused = offramp(redis_url, world, "rebuild", "--topic", world.out[0], code=1)
        assert "counted twice" in str(refused.exception)
        assert refused.stderr == ""
        assert rebuild(redis_url, world, "--fresh")["counted"] == 270
        assert held(store) == expected
        offramp(redis_url, world, "doctor")
