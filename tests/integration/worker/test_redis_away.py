"""The worker while Redis is frozen, gone, or emptied: predictions never stop, counts are exact."""

from dataclasses import replace

import pytest
import redis

from consumer.learning.counter import Counting
from policy_state.algorithms.settings import PolicySettings
from policy_state.store.redis.store import RedisStore
from policy_state.store.values import Limits, PolicyMeta
from tests.support.waiting import wait_for


@pytest.mark.parametrize("how", ["frozen", "killed"])
def test_predictions_go_on_without_redis_and_all_is_counted_afterwards(arena, server, how):
    """What is learnt meanwhile is held and brought when Redis is back, each text once."""
    if how == "frozen":
        server.pause()
    else:
        redis.Redis.from_url(server.url).save()
        server.kill()
    arena.produce(600)
    wait_for(lambda: len(arena.read(arena.out)) == 800)
    wait_for(lambda: arena.fleet.log("w0").count("store is still unreachable") >= 2)
    if how == "frozen":
        server.resume()
    else:
        server.restart()
    arena.produce(100)
    wait_for(lambda: arena.counted() == 900)
    assert len(arena.read(arena.out)) == 900
    assert arena.fleet.running["w0"].poll() is None
    log = arena.fleet.log("w0")
    away = [line for line in log.splitlines() if "store is still unreachable" in line]
    ages = [float(line.split("snapshot_age_s=")[1]) for line in away]
    assert ages == sorted(ages)
    assert ages[-1] > ages[0] > 0.5  # how old the counters are that exits are chosen from
    assert log.count("store is unreachable") == log.count("store is back") == 1, log[-3000:]


def test_an_emptied_redis_stops_no_prediction(arena, server):
    """After FLUSHALL the worker creates the policy anew, says so, and counts all once more."""
    redis.Redis.from_url(server.url).flushall()
    arena.produce(300)
    wait_for(lambda: len(arena.read(arena.out)) == 500)
    wait_for(lambda: arena.counted() == 500)
    assert "store has lost the policy" in arena.fleet.log("w0")


def test_what_was_set_while_workers_ran_outlives_an_emptied_redis(server):
    """The worker that creates the policy anew knows its latest settings and limits."""
    meta = PolicyMeta("default", "f1", (1, 3, 7, 12))
    changed = replace(meta, settings=PolicySettings(alpha=0.5), limits=Limits(domains=7))
    with RedisStore(server.url) as ours, RedisStore(server.url) as theirs:
        counting = Counting(ours, ours.open(meta), by="w")
        theirs.open(meta)
        given = (changed.settings, changed.limits)
        theirs.configure(*given, revision=1, by="anna", reason="")
        counting.known.current({"hotels"})
        redis.Redis.from_url(server.url).flushall()
        counting.known.current({"books"})
        assert theirs.find("default") == changed


def test_what_is_held_is_brought_before_a_worker_ends(arena, server):
    """SIGTERM while Redis is away: the counters are brought if it comes back within the drain."""
    server.pause()
    arena.produce(50)
    wait_for(lambda: len(arena.read(arena.out)) == 250)
    server.resume()
    assert arena.fleet.stop("w0") == 0
    assert arena.counted() == 250
