"""What the deletion of a topic that is read costs the others: nothing; on a real broker."""

import os
import time
from collections import Counter

import pytest
from kafka import KafkaAdminClient

from deploy.local.services import start_kafka
from tests.support.kafka_records import good, ids, send
from tests.support.topics import create_topics
from tests.support.waiting import wait_for

KEPT, GONE, OUT, DEAD = "ends.films", "ends.gone", "ends.out", "ends.dead"


@pytest.fixture
def broker():
    """Return a broker whose topics may be deleted."""
    with start_kafka() as server:
        create_topics(server.address, {KEPT: 1, GONE: 1, OUT: 1, DEAD: 1})
        yield server


def test_a_topic_that_is_deleted_holds_up_no_other(broker, start, tmp_path, monkeypatch):
    """Also with a transaction under way that has its offsets, which Kafka takes no more."""
    hold = tmp_path / "hold"
    monkeypatch.setenv("HOLD", os.fspath(hold))
    routes = f'[{{"topics": "ends.(films|gone)", "output": "{OUT}"}}]'
    worker, log = start(broker.address, ROUTES=routes)
    wait_for(lambda: log().count("reading topic") == 2)
    hold.touch()
    send(broker.address, GONE, [(b"k", b'{"id": "gone", "text": "good"}')])
    send(broker.address, KEPT, good(20))
    wait_for(lambda: "holds" in log())
    with KafkaAdminClient(bootstrap_servers=broker.address) as admin:
        admin.delete_topics([GONE])
        wait_for(lambda: GONE not in admin.list_topics())
    hold.unlink()
    begun = time.monotonic()
    send(broker.address, KEPT, good(20, first=20))
    found = Counter(ids(broker.address, OUT, want=40))
    assert time.monotonic() - begun < 15, log()  # Kafka's client would try for 30 s
    assert {f"e{i}": 1 for i in range(40)} == {key: n for key, n in found.items() if key != "gone"}
    assert worker.poll() is None
    assert log().count("not found in cluster metadata") <= 1
