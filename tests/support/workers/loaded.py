"""A worker under load, and whether all is well once the load has ended."""

import threading
import time
from contextlib import contextmanager
from itertools import pairwise

from consumer.kafka.group.offsets import kafka_state
from consumer.settings.sections import KafkaSettings
from deploy.local.process import wait_until
from policy_state.health.doctor import examine
from policy_state.reports.domain import read_reports
from policy_state.store.redis.store import RedisStore
from tests.support.kafka_records import committed_reader
from tests.support.workers.arena import Arena, Storm
from tests.support.workers.storm_fleet import wait


class Load:
    """Texts that keep coming, and when their predictions came out."""

    def __init__(self, arena):
        self._arena = arena
        self._stop = threading.Event()
        self.arrivals = [time.monotonic()]
        self.predictions = 0
        self._threads = [threading.Thread(target=t) for t in (self._produce, self._watch)]

    def _produce(self):
        while not self._stop.wait(0.1):
            self._arena.produce(20)

    def _watch(self):
        consumer = committed_reader(self._arena.kafka, self._arena.out)
        while not self._stop.is_set():
            if found := sum(map(len, consumer.poll(timeout_ms=100).values())):
                self.arrivals.append(time.monotonic())
                self.predictions += found
        consumer.close()

    def longest_stall_s(self, since):
        """Return the longest time without a prediction since then, until now."""
        times = [since, *(t for t in self.arrivals if t > since), time.monotonic()]
        return max(b - a for a, b in pairwise(times))

    def start(self):
        """Let texts come."""
        for thread in self._threads:
            thread.start()

    def stop(self):
        """Let no more come; may be called again."""
        self._stop.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()


@contextmanager
def loaded(kafka, redis_url, tmp_path):
    """Yield an arena in which one worker runs, and its load."""
    arena = Arena(kafka, redis_url, tmp_path, Storm(partitions=2, bad_share=0.0))
    load = Load(arena)
    arena.fleet.start("w0")
    try:
        arena.produce(100)
        wait_until(lambda: arena.counted() == 100, timeout_s=60, what="the worker")
        load.start()
        wait_until(lambda: load.predictions > 200, timeout_s=30, what="the load")
        yield arena, load
    finally:
        load.stop()
        arena.fleet.close()


def settle(arena, load):
    """End the load; every text is counted and predicted, each once, and the worker lives."""
    load.stop()
    log = arena.fleet.log("w0")[-3000:]
    assert wait(lambda: arena.counted() == len(arena.sent), 60), (arena.counted(), log)
    assert sorted(r.key for r in arena.read(arena.out)) == sorted(map(str.encode, arena.sent))
    assert arena.fleet.running["w0"].poll() is None
    assert doctor(arena) == []


def doctor(arena):
    """Return what the doctor finds."""
    with RedisStore(arena.redis_url) as store:
        read_reports(store, "default", domains=[])  # opens it
        kafka = kafka_state(KafkaSettings(bootstrap_servers=arena.kafka, group=arena.prefix))
        examination = examine(store, ends=kafka.ends, committed=kafka.committed)
        return [(f.check, f.text) for f in examination.findings]
