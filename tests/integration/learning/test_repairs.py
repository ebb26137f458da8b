"""Texts that are predicted and not counted: a worker finds and counts them, or the doctor tells."""

import signal
import time

import pytest
import redis
from kafka import KafkaAdminClient, KafkaProducer
from typer.testing import CliRunner

from consumer.cli.app import app
from consumer.kafka.predicted_to import PredictedTo
from consumer.learning.repair import Repaired, repair
from consumer.settings.sections import KafkaSettings
from policy_state.reports.domain import read_reports
from policy_state.store.redis.store import RedisStore
from tests.support.tiny_model import write_tiny_model
from tests.support.topics import create_topics
from tests.support.waiting import wait_for
from tests.support.workers.routed_fleet import RoutedFleet

FOUND = 4


def doctor(arena, *args):
    """Return the exit code and what is said."""
    environ = arena.environ
    result = CliRunner().invoke(app, ["policy", "doctor", "-o", "json", *args], env=environ)
    return result.exit_code, result.output


def hold(arena, server, count):
    """Have texts predicted while Redis is away."""
    redis.Redis.from_url(server.url).save()
    server.kill()
    arena.produce(count)
    wait_for(lambda: len(arena.read(arena.out)) == 200 + count)


def test_what_a_killed_worker_held_is_counted_by_the_next(arena, server):
    """Kill -9 while Redis is away: the doctor tells until whoever starts has counted it."""
    hold(arena, server, 150)
    arena.fleet.kill("w0")
    server.restart()
    assert doctor(arena)[0] == FOUND
    arena.fleet.start("w0")
    wait_for(lambda: arena.counted() == 350)
    assert doctor(arena)[0] == 0
    arena.produce(50)
    wait_for(lambda: arena.counted() == 400)
    assert doctor(arena)[0] == 0


def test_a_worker_that_ends_with_texts_in_hand_says_what_mends_it(arena, server):
    """SIGTERM while Redis is away: another exit code, and a command after which all is counted."""
    arena.fleet.kill("w0")
    arena.environ["OFFRAMP_WORKER__DRAIN_S"] = "2"
    arena.fleet.start("w0")
    wait_for(lambda: arena.fleet.logged("w0", "reading topic"))
    hold(arena, server, 100)
    assert arena.fleet.stop("w0") not in {0, -signal.SIGTERM}
    assert "`offramp policy doctor --repair` counts them" in arena.fleet.log("w0")
    server.restart()
    code, said = doctor(arena)
    assert (code, "doctor --repair" in said) == (FOUND, True)
    assert arena.counted() == 200
    assert doctor(arena, "--repair")[0] == 0
    assert arena.counted() == 300
    assert doctor(arena, "--repair")[0] == 0
    assert arena.counted() == 300


def test_aborted_transactions_of_producers_are_no_gaps(arena):
    """However many a topic has: markers and aborted records are known to be no texts."""
    producer = KafkaProducer(
        bootstrap_servers=arena.kafka, transactional_id=arena.prefix, retry_backoff_ms=5
    )
    producer.init_transactions()
    for number in range(80):
        producer.begin_transaction()
        headers = [("domain", b"a")]
        producer.send(f"{arena.prefix}.in0", b'{"text": "x"}', headers=headers, partition=0)
        if number % 2:
            producer.commit_transaction()
        else:
            producer.abort_transaction()
        time.sleep(0.02)
    producer.close()
    wait_for(lambda: arena.counted() == 240)
    assert doctor(arena)[0] == 0
    with RedisStore(arena.redis_url) as store:
        read_reports(store, "default", domains=[])  # opens it
        assert [mark.gaps for mark in store.watermarks().values()] == [(), ()]
        assert store.workers()["w0"]["gap_offsets"] == "0"


def test_texts_whose_predictions_are_too_far_back_are_left_and_told(arena, server):
    """A repair counts all of a partition or nothing; what it does not reach stays a problem."""
    arena.fleet.stop("w0")
    redis.Redis.from_url(server.url).delete(*redis.Redis.from_url(server.url).keys("*:wm"))
    settings = KafkaSettings(bootstrap_servers=arena.kafka, group=arena.prefix)
    with RedisStore(arena.redis_url) as store:
        read_reports(store, "default", domains=[])  # opens it
        store.restart(by="anna", reason="")
        near = repair(settings, store, PredictedTo((arena.out,)), most_records=100)
        assert (near.counted, near.offsets, len(near.left)) == (0, 0, 2)
        assert len(repair(settings, store, PredictedTo(())).left) == 2
        assert doctor(arena)[0] == FOUND
        assert repair(settings, store, PredictedTo((arena.out,))) == Repaired(200, 200)
        assert repair(settings, store, PredictedTo((arena.out,))) == Repaired()
    assert doctor(arena)[0] == 0
    assert arena.counted() == 200


class Moved(RoutedFleet):
    """A fleet whose route writes somewhere else after a while."""

    def counted(self) -> int:
        """Return how many texts the counters hold."""
        with RedisStore(self.redis_url) as store:
            return sum(report.texts for report in read_reports(store, "default"))

    def doctor(self, *args) -> tuple[int, str]:
        """Return the exit code and what is said."""
        environ = {name: text for name, text in self.environ.items() if name[:7] == "OFFRAMP"}
        result = CliRunner().invoke(app, ["policy", "doctor", *args], env=environ)
        return result.exit_code, result.output

    def end(self, name: str) -> None:
        """Kill a worker."""
        self.workers[name].kill()
        self.workers[name].wait()


@pytest.fixture
def moved(kafka, server, tmp_path):
    fleet = Moved(kafka, server.url, write_tiny_model(tmp_path / "model"), tmp_path)
    yield fleet
    for name in fleet.workers:
        fleet.end(name)


def test_predictions_of_a_former_route_are_found_or_told(moved, server):
    """The history of the routes tells where else they went; what was deleted there is told."""
    texts, there = f"{moved.name}.films", f"{moved.name}-there"
    create_topics(moved.kafka, {texts: 1, there: 1})
    route = ["route", "add", texts.replace(".", r"\."), "--name", "mine", "--yes", "--to"]
    moved.offramp(*route, moved.out)
    moved.offramp("route", "remove", "texts", "--yes")  # it reads topics of other tests
    moved.start("a")
    moved.produce(texts, 0, 20)
    wait_for(lambda: moved.counted() == 20)
    redis.Redis.from_url(server.url).save()
    server.kill()
    moved.produce(texts, 20, 50)
    wait_for(lambda: len(moved.predictions()) == 50)
    moved.end("a")
    server.restart()
    moved.offramp(*route, there, "--replace")
    assert moved.doctor()[0] == FOUND
    moved.start("b")
    wait_for(lambda: moved.counted() == 50)
    assert moved.doctor()[0] == 0
    moved.end("b")
    with KafkaAdminClient(bootstrap_servers=moved.kafka) as admin:
        admin.delete_topics([moved.out])
    with RedisStore(server.url) as store:
        read_reports(store, "default", domains=[])  # opens it
        store.restart(by="anna", reason="")
    code, said = moved.doctor("--repair")
    assert (code, moved.counted()) == (FOUND, 0)
    assert "predictions of texts that are not counted may be deleted" in said
