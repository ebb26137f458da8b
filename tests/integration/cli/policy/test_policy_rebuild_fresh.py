"""`offramp policy rebuild --fresh` with a real Kafka: counters are counted again from zero."""

import json
import os
import subprocess
import sys
from collections import Counter

import pytest
from kafka import TopicPartition

from consumer.kafka.topics import log_offsets
from policy_state.stats import ExitStats
from policy_state.store.redis.store import RedisStore
from policy_state.store.values import DomainSnapshot
from policy_state.transfer.transfer import export_policy
from tests.support.policies.predicted_topics import META, World, held, offramp, rebuild


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
            # In a separate process: a client that finds no broker leaves sockets open.
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
        assert f"retention deleted at most {end - 116} records" in refused
        assert held(store) == before | {"a": before["a"] + brought}


def test_a_lost_watermark_is_mended_by_a_fresh_rebuild(redis_url: str, world: World) -> None:
    """The doctor finds it with the command, a rebuild refuses unasked, --fresh counts anew."""
    with RedisStore(redis_url) as store:
        store.open(META)
        world.count(store, 0, 150)
        expected = held(store)
        store.server.command("DEL", store.bound()[0].key("wm"))
        found = json.loads(offramp(redis_url, world, "doctor", "-o", "json", code=4).stdout)
        assert {f["check"]: f["fix"] for f in found["findings"]} == {
            "watermark": "offramp policy rebuild --fresh"
        }
        refused = offramp(redis_url, world, "rebuild", "--topic", world.out[0], code=1)
        assert "counted twice" in str(refused.exception)
        assert refused.stderr == ""
        assert rebuild(redis_url, world, "--fresh")["counted"] == 270
        assert held(store) == expected
        offramp(redis_url, world, "doctor")
