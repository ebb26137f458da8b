"""A worker starts a drifting domain afresh while a rebuild counts it: the books are right."""

import time
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle

import orjson
from kafka import KafkaProducer
from typer.testing import CliRunner

from consumer.cli.app import app
from deploy.local.services import start_redis
from policy_state.reports.domain import read_reports
from policy_state.store.redis.store import RedisStore
from tests.support.long_form import IS_LONG
from tests.support.waiting import wait_for
from tests.support.workers.arena import Arena, Storm

TEXTS = 3_000 if IS_LONG else 400
ROUNDS = 10 if IS_LONG else 3
WITHIN_S = 1_200 if IS_LONG else 180
KINDS = ("good film .", "a bad one , it was .")  # exit 0 says another label of each


class Drifting(Arena):
    """Texts of one domain, of one kind after the other."""

    def send(self, kind, count):
        """Write so many texts of a kind."""
        with_domain = [("domain", b"a")]
        producer = KafkaProducer(bootstrap_servers=self.kafka, acks="all", linger_ms=10)
        for _ in range(count):
            event_id = f"e{len(self.sent)}"
            self.sent[event_id] = True
            value = orjson.dumps({"id": event_id, "text": KINDS[kind]})
            producer.send(
                f"{self.prefix}.in0", key=event_id.encode(), value=value, headers=with_domain
            )
        producer.flush(timeout=60)
        producer.close()

    def books(self):
        """Return how many texts are in the counters, and how many are accounted for in all."""
        with RedisStore(self.redis_url) as store:
            held = sum(r.exits[0].observed for r in read_reports(store, "default"))
            totals = store.totals()
            assert held == totals.stats.texts + totals.brought - totals.gone
            return held, totals.stats.texts + totals.skipped

    def drifts(self):
        """Return how often a worker has started the domain afresh."""
        with RedisStore(self.redis_url) as store:
            read_reports(store, "default", domains=[])  # opens it
            return store.read(["a"])["a"].drifts

    def offramp(self, *words):
        """Run `offramp policy`."""
        result = CliRunner().invoke(app, ["policy", *words], env=self.environ)
        return result.exit_code, result.output + repr(result.exception or "")


def test_a_drift_reset_and_a_rebuild_at_once_leave_the_books_right(kafka, tmp_path):
    """Every text is in the counters, gone with a reset or told as skipped, and none twice."""
    with start_redis() as server:
        arena = Drifting(kafka, server.url, tmp_path, Storm(partitions=2, bad_share=0.0))
        try:
            arena.fleet.start("w0")
            arena.send(0, TEXTS)
            wait_for(lambda: arena.counted() == TEXTS)
            with ThreadPoolExecutor(1) as pool:
                kinds = cycle((1, 0))
                drifted = 0
                deadline = time.monotonic() + WITHIN_S
                # A rebuild that sets the old texts to zero while all new ones pass hides a drift.
                while drifted < ROUNDS:
                    assert time.monotonic() < deadline, f"{drifted} of {ROUNDS} rounds drifted"
                    before = arena.drifts()
                    written = pool.submit(arena.send, next(kinds), TEXTS)
                    while not written.done() or len(arena.read(arena.out)) < len(arena.sent):
                        assert time.monotonic() < deadline, "the texts were not predicted"
                        code, said = arena.offramp("rebuild", "--fresh", "--drop-unseen", "--yes")
                        assert code in {0, 4}, said
                    written.result()
                    wait_for(lambda: arena.books()[1] == len(arena.sent), 30)
                    code, said = arena.offramp("doctor")
                    assert code == 0, said
                    drifted += arena.drifts() > before
            assert arena.offramp("rebuild", "--fresh", "--drop-unseen", "--yes")[0] == 0
            assert arena.books() == (len(arena.sent), len(arena.sent))
        finally:
            arena.fleet.close()
