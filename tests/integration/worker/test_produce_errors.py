"""What the worker does where Kafka does not take what it writes; on a real broker."""

import os
import shutil
import subprocess
import time
from contextlib import contextmanager

import orjson
import psutil
import pytest

from deploy.local.services import start_kafka
from tests.support.kafka_admin import set_limit
from tests.support.kafka_records import good, ids, read_topic, send
from tests.support.long_form import IS_LONG
from tests.support.topics import create_topics
from tests.support.waiting import wait_for
from tests.support.workers.fleet import topic_of

FREE_WORKER = "tests.support.workers.crashing_worker"  # it starts without torch
GOOD = 300
AWAY_S = 30


def test_what_is_too_large_is_set_aside_and_the_rest_goes_on(fleet, kafka):
    """A too large prediction is a dead letter; of a too large letter the sizes are told."""
    set_limit(kafka, f"{fleet.prefix}-out", 3_000)
    set_limit(kafka, f"{fleet.prefix}-dead", 6_000)
    long_key, longer_key = b"k" * 4_000, b"k" * 8_000
    records = good()
    records[10] = (long_key, records[10][1])
    records[20] = (b"a", b'{"text": ' + b"x" * 20_000)
    records[30] = (longer_key, b"\xff" * 500)
    records[40] = (longer_key, records[40][1])
    send(kafka, topic_of(fleet.prefix, "films"), records)
    fleet.start("a")
    expected = [f"e{i}" for i in range(GOOD) if i not in {10, 20, 30, 40}]
    assert ids(kafka, f"{fleet.prefix}-out", want=len(expected)) == expected, fleet.log("a")[-3000:]
    letters = read_topic(kafka, f"{fleet.prefix}-dead", want=4)
    found = {}
    for letter in letters:
        said = {n.removeprefix("offramp.error."): v.decode() for n, v in letter.headers}
        sizes = {name: int(value) for name, value in said.items() if name.endswith("_bytes")}
        found[int(said["offset"])] = (said["stage"], said["class"], sizes, letter.key, letter.value)
    whole = records[10][1]
    assert found == {
        10: ("produce", "prediction-too-large", {}, long_key, whole),
        20: ("parse", "invalid-json", {"value_bytes": 20_009}, b"a", None),
        30: (
            "parse",
            "invalid-utf8",
            {"value_bytes": 500, "key_bytes": 8_000, "headers_bytes": 0},
            None,
            b"",
        ),
        40: (
            "produce",
            "prediction-too-large",
            {"value_bytes": len(records[40][1]), "key_bytes": 8_000, "headers_bytes": 0},
            None,
            b"",
        ),
    }


def test_of_two_workers_with_one_name_one_ends_and_each_event_is_predicted_once(fleet, kafka):
    """Mostly the first: where it joins the group again meanwhile, the second; it says why."""
    topic = topic_of(fleet.prefix, "films")
    both = [fleet.start("a", FREE_WORKER)]
    send(kafka, topic, good())
    assert len(ids(kafka, f"{fleet.prefix}-out", want=GOOD)) == GOOD
    both.append(fleet.start("a", FREE_WORKER))
    wait_for(lambda: fleet.log("a").count("started instance=a") == 2)
    send(kafka, topic, good(first=GOOD))
    try:
        wait_for(lambda: 1 in [process.poll() for process in both])
        assert "WorkerFenced" in fleet.log("a")
    finally:
        for process in both:
            process.kill()
            process.wait()
    fleet.start("a", FREE_WORKER)
    found = ids(kafka, f"{fleet.prefix}-out", want=2 * GOOD)
    assert sorted(found) == sorted(f"e{i}" for i in range(2 * GOOD)), fleet.log("a")[-3000:]


def test_a_right_that_is_taken_away_is_waited_for(fleet, secured):
    """While an output may not be written to its route waits, the log has the command; each once."""
    create_topics(secured.plain, {topic_of(fleet.prefix, "films"): 2})
    create_topics(secured.plain, {f"{fleet.prefix}-out": 1, f"{fleet.prefix}-dead": 1})
    secured.allow_all(fleet.prefix)
    settings = secured.settings("SCRAM-SHA-256")
    security = settings.security.model_dump(mode="json", exclude_none=True)
    fleet.environ["OFFRAMP_KAFKA__BOOTSTRAP_SERVERS"] = settings.bootstrap_servers
    fleet.environ["OFFRAMP_KAFKA__SECURITY"] = orjson.dumps(security).decode()
    topic = topic_of(fleet.prefix, "films")
    send(secured.plain, topic, good())
    fleet.start("a")
    assert len(ids(secured.plain, f"{fleet.prefix}-out", want=GOOD)) == GOOD
    secured.forbid("TOPIC", f"{fleet.prefix}")
    secured.allow("TOPIC", fleet.prefix, "READ", "DESCRIBE")
    send(secured.plain, topic, good(first=GOOD))
    wait_for(lambda: "cause='may not be written to'" in fleet.log("a"))
    assert f"--operation Write --topic {fleet.prefix}-out" in fleet.log("a")
    secured.allow("TOPIC", fleet.prefix, "WRITE")
    found = ids(secured.plain, f"{fleet.prefix}-out", want=2 * GOOD)
    assert sorted(found) == sorted(f"e{i}" for i in range(2 * GOOD)), fleet.log("a")[-3000:]


@pytest.mark.skipif(not IS_LONG, reason="half a minute; `make chaos` runs it")
def test_a_broker_that_is_away_under_load_costs_no_event(fleet):
    """While no broker is there the worker lives, and then each event is predicted once."""
    with start_kafka() as broker:
        kafka, topic = broker.address, topic_of(fleet.prefix, "films")
        create_topics(kafka, {topic: 2, f"{fleet.prefix}-out": 2, f"{fleet.prefix}-dead": 1})
        fleet.environ["OFFRAMP_KAFKA__BOOTSTRAP_SERVERS"] = kafka
        fleet.environ["OFFRAMP_BATCH__MAX_EVENTS"] = "20"  # so that it is at work when they go
        send(kafka, topic, good(2_000))
        worker = fleet.start("a")
        wait_for(lambda: fleet.log("a").count(" events=") >= 3)
        before = psutil.Process(worker.pid).memory_info().rss
        broker.kill()
        time.sleep(AWAY_S)
        grown = psutil.Process(worker.pid).memory_info().rss - before
        broker.start()
        found = ids(kafka, f"{fleet.prefix}-out", want=2_000)
        assert sorted(found) == sorted(f"e{i}" for i in range(2_000)), fleet.log("a")[-3000:]
        assert worker.poll() is None
        assert grown < 64 << 20


@contextmanager
def small_disk(server, *, free_bytes):
    """Put a broker's data on a file system with little room; yields the file that fills it."""
    data, kept = server.home / "data", server.home / "kept"
    server.terminate()
    data.rename(kept)
    data.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256m", "none", str(data)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("a small file system needs the right to mount one")
    try:
        subprocess.run(["cp", "-a", "--sparse=always", f"{kept}/.", str(data)], check=True)
        filler = data / "filler"
        with filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(data).free - free_bytes)
        server.start()
        yield filler
    finally:
        server.kill()
        subprocess.run(["umount", str(data)], check=True)


@pytest.mark.skipif(not IS_LONG, reason="half a minute, in `make chaos` only")
def test_a_broker_whose_disk_is_full_costs_no_event(fleet):
    """It dies of its full disk; with room again every event is predicted once."""
    with start_kafka() as broker:
        kafka, topic = broker.address, topic_of(fleet.prefix, "films")
        create_topics(kafka, {topic: 2, f"{fleet.prefix}-out": 2, f"{fleet.prefix}-dead": 1})
        fleet.environ["OFFRAMP_KAFKA__BOOTSTRAP_SERVERS"] = kafka
        send(kafka, topic, good(2_000))
        with small_disk(broker, free_bytes=512 << 10) as filler:
            worker = fleet.start("a")
            wait_for(lambda: not broker.running)
            assert "No space left on device" in broker.log_file.read_text(errors="replace")
            before = psutil.Process(worker.pid).memory_info().rss
            time.sleep(AWAY_S / 2)
            assert psutil.Process(worker.pid).memory_info().rss - before < 64 << 20
            filler.unlink()
            broker.start()
            found = ids(kafka, f"{fleet.prefix}-out", want=2_000)
            assert sorted(found) == sorted(f"e{i}" for i in range(2_000)), fleet.log("a")[-3000:]
            assert worker.poll() is None
