"""A fleet gets another model under load, one worker at a time: exactly once, and it starts warm."""

import sys
import time
from collections import Counter
from threading import Event, Thread

import orjson
import pytest

from deploy.local.services import start_kafka, start_redis
from policy_state.reports.domain import read_reports
from policy_state.store.redis.store import RedisStore
from tests.chaos.outcome import Report, check, stop
from tests.chaos.settling import offramp
from tests.support.long_form import IS_LONG
from tests.support.waiting import wait_for
from tests.support.workers.arena import DOMAINS, Arena, Storm

WORKERS = ["w0", "w1", "w2"]
NEXT = "next-release"
WARM = {"OFFRAMP_STORE__ON_MISMATCH": "warm-start", "OFFRAMP_STORE__WARM_START_WEIGHT": "0.5"}
pytestmark = pytest.mark.skipif(not IS_LONG, reason="minutes of a rollout; `make chaos` runs it")


class Upgraded(Arena):
    """An arena whose counters are in the policies of two models."""

    def policies(self):
        """Return what each policy has counted itself, and its domains' texts, by its name."""
        found = {}
        with RedisStore(self.redis_url) as store:
            for meta in store.policies():
                store.open(meta)
                texts = {r.domain: r.texts for r in read_reports(store, meta.name)}
                found[meta.name] = (store.totals().stats.texts, texts)
        return found

    def counted(self):
        """Return how many texts the workers of both models have counted."""
        try:
            return sum(counted for counted, _ in self.policies().values())
        except Exception:  # noqa: BLE001  (no policy yet)
            return -1


def test_a_new_model_rolls_out_under_load(tmp_path):
    """Nothing is lost or doubled, also on the way back and forth; its policy begins warm."""
    report = Report()
    with start_kafka() as kafka, start_redis() as redis:
        arena = Upgraded(kafka.address, redis.url, tmp_path, Storm(partitions=6, settle_s=300))
        fleet, over = arena.fleet, Event()

        def load():
            while not over.wait(0.2):
                arena.produce(30)

        def roll(own):
            for name in WORKERS:
                stop(fleet, name, report)
                fleet.own[name] = own
                fleet.start(name)
                wait_for(lambda name=name: fleet.logged(name, " events="))

        writing = Thread(target=load)
        try:
            for name in WORKERS:
                fleet.start(name)
            arena.produce(1500)
            wait_for(lambda: arena.counted() >= sum(arena.sent.values()))
            writing.start()
            begun = time.monotonic()
            roll({"MODEL_OF_NEXT_RELEASE": NEXT, **WARM})
            rolled_s = time.monotonic() - begun
            warm = {name: texts for name, (_, texts) in arena.policies().items()}
            roll({})  # `kubectl rollout undo`
            roll({"MODEL_OF_NEXT_RELEASE": NEXT, **WARM})
            over.set()
            writing.join()
            check(arena, report)
        finally:
            over.set()
            fleet.close()
        models = Counter(orjson.loads(r.value)["model"] for r in arena.read(arena.out))
        # What the other model predicted is not counted here, as nothing is to be: a repair says so.
        doctor = ["policy", "doctor", "--repair", "--policy"]
        doctors = [offramp(arena, *doctor, name) for name in ("default", f"default@{NEXT}")]
    sys.stdout.write(f"\nrolled in {rolled_s:.0f} s, by model {models}\n{report.summary()}\n")
    ends = "\n".join(fleet.log(name)[-3000:] for name in WORKERS)
    assert (report.twice, report.missing, report.disordered) == (0, 0, 0), (report, ends)
    assert report.predictions == report.counted == sum(arena.sent.values()), (report, ends)
    assert report.unhealthy_exits == [], (report, ends)
    assert min(models["free-model"], models[NEXT]) > 100, models
    assert all(warm[f"default@{NEXT}"][domain] > 200 for domain in DOMAINS), warm
    assert [code for code, _ in doctors] == [0, 0], doctors
