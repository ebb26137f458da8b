"""When a worker ends: never in silence, and never later than its limits say; on a real broker."""

import signal
import subprocess
import time
from collections import Counter

import pytest
from kafka import KafkaAdminClient, KafkaConsumer
from kafka.coordinator.assignors.range import RangePartitionAssignor

from consumer.kafka.check import group_result
from consumer.kafka.group.member import foreign
from consumer.kafka.private import Assignor
from consumer.settings.sections import KafkaSettings
from deploy.local.services import start_kafka
from tests.support.kafka_records import good, ids, send
from tests.support.topics import create_topics
from tests.support.waiting import wait_for

IN, OUT, DEAD = "ends.films", "ends.out", "ends.dead"


@pytest.fixture
def broker():
    """Return a broker of its own: it is to stand still."""
    with start_kafka() as server:
        create_topics(server.address, {IN: 1, OUT: 1, DEAD: 1})
        yield server


def test_an_idle_worker_says_that_no_broker_answers_and_ends(broker, start):
    """Without a text to commit, too: it warns, waits for `give_up_s`, and ends with an error."""
    worker, log = start(
        broker.address,
        KAFKA__REQUEST_TIMEOUT_S="2",
        KAFKA__METADATA_MAX_AGE_S="1",
        WORKER__GIVE_UP_S="5",
    )
    wait_for(lambda: "reading topic" in log())
    time.sleep(4)  # idle, and well: longer than what it takes for silence
    assert "batches given back" not in log()
    broker.pause()
    assert worker.wait(60) != 0
    broker.resume()
    assert "batches given back times=1 error=no broker has answered for" in log()
    assert "StreamUnavailable: no broker has answered for" in log().splitlines()[-1]


def test_a_model_that_hangs_ends_the_worker_and_the_next_one_goes_on(broker, start):
    """After `stuck_s`, with an error, also though its thread never ends; nothing is lost."""
    worker, log = start(broker.address, WORKER__STUCK_S="3")
    send(broker.address, IN, good(20))
    assert ids(broker.address, OUT, want=20), log()
    send(broker.address, IN, [(b"k", b"hang here"), *good(20, first=20)])
    assert worker.wait(60) == 1, log()
    assert "WorkerStuck: a batch was not finished in 3 s" in log()
    worker, log = start(broker.address, module="tests.support.workers.crashing_worker")
    found = Counter(ids(broker.address, OUT, want=41))
    assert sum(found.values()) == 41, log()
    assert [key for key, count in found.items() if count > 1] == []


def test_a_model_that_hangs_holds_up_no_sigterm(broker, start):
    """The drain has its time, then the process ends; the batch is left to the next worker."""
    worker, log = start(broker.address, WORKER__DRAIN_S="2")
    send(broker.address, IN, [(b"k", b"hang here")])
    wait_for(lambda: "reading topic" in log())
    time.sleep(2)  # by now the model has it
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(45) == 0, log()
    assert "not finished in time, will be read again" in log()
    assert " events=1 " not in log()


def test_a_second_signal_ends_a_worker_at_once(broker, start):
    """The first one has it finish what is under way, for as long as that may take."""
    worker, log = start(broker.address, WORKER__DRAIN_S="600")
    send(broker.address, IN, [(b"k", b"hang here")])
    wait_for(lambda: "hangs" in log())
    worker.send_signal(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        worker.wait(3)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(30) == 128 + signal.SIGTERM, log()


@pytest.mark.parametrize(
    ("limit", "told", "said"),
    [
        ("WORKER__STUCK_S", False, "the main loop hangs: it has made no turn for 3 s"),
        ("WORKER__DRAIN_S", True, "the main loop was told to stop and has made no turn for 3 s"),
    ],
)
def test_a_main_loop_that_hangs_ends_the_worker(broker, start, limit, told, said):
    """In C too, where no signal is heeded: the limits hold, and the log says where it hangs."""
    worker, log = start(broker.address, **{limit: "3"})
    wait_for(lambda: "reading topic" in log())
    worker.send_signal(signal.SIGUSR1)
    wait_for(lambda: "hangs\n" in log())
    if told:
        worker.send_signal(signal.SIGTERM)
    assert worker.wait(20) == 1, log()
    assert f"{said}; it is in consumer." in log().splitlines()[-1], log()
    assert "and there in __main__.hang, line " in log().splitlines()[-1], log()


def test_a_group_of_another_kind_is_told_at_once(broker, start):
    """Kafka lets no worker in beside members with another assignor: who they are, what to do."""
    other = KafkaConsumer(
        IN,
        bootstrap_servers=broker.address,
        group_id="ends",
        client_id="reports",
        partition_assignment_strategy=[RangePartitionAssignor],
    )
    wait_for(lambda: other.poll(200) or other.assignment())
    expected = (
        "group ends has 1 members (reports) that use the assignor range, but a worker needs "
        "cooperative-sticky"
    )
    settings = KafkaSettings(bootstrap_servers=broker.address, group="ends")
    with KafkaAdminClient(bootstrap_servers=broker.address) as admin:
        finding = group_result(settings, admin)
    assert (finding.ok, finding.said) == (False, expected)
    worker, log = start(broker.address)
    assert worker.wait(30) == 1, log()
    assert f"{expected}: give the workers a separate kafka.group" in log().splitlines()[-1]
    other.close()
    worker, log = start(broker.address)  # and once they are gone it is let in
    wait_for(lambda: "reading topic" in log())


def test_a_group_that_is_joined_just_now_is_not_taken_for_another_kind(kafka):
    """While its members join, brokers do not tell how they divide: `--check` finds no fault."""
    name = f"joined-{time.time_ns()}"
    create_topics(kafka, {name: 1})
    options = {"bootstrap_servers": kafka, "group_id": name}
    options["partition_assignment_strategy"] = [Assignor]
    with KafkaAdminClient(bootstrap_servers=kafka) as admin:
        first, second = (KafkaConsumer(name, **options) for _ in range(2))
        try:
            wait_for(lambda: first.poll(timeout_ms=200) or first.assignment())
            second.poll(timeout_ms=1000)  # waits for the first one, which does not poll
            assert admin.describe_groups([name])[name]["group_state"] == "PreparingRebalance"
            assert foreign(admin, name) is None
        finally:
            for member in (second, first):
                member.close(timeout_ms=1000)
