"""Offramp inside another stream library."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import orjson
import pytest

from consumer.learning.counter import Counting
from consumer.learning.presence import Presence
from offramp import Offramp, Record, load_settings
from policy_state.errors import StoreUnavailable
from policy_state.reports.domain import read_reports
from policy_state.store.redis.store import RedisStore
from tests.support.kafka_records import read_topic, send
from tests.support.long_form import IS_LONG
from tests.support.servers.proxies import Proxy
from tests.support.tiny_model import write_tiny_model
from tests.support.topics import create_topics

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("model"))


def test_records_given_twice_are_predicted_twice_and_counted_once(redis_url, model):
    """A host that starts again from its checkpoint changes no counter."""
    settings = load_settings(options={"redis.url": redis_url, "model.path": str(model)})
    records = [Record("texts.films", 0, i, 0, None, b"good film .") for i in range(5)]
    broken = Record("texts.films", 0, 5, 0, None, b"\xff")
    with Offramp(settings) as offramp:
        for _ in range(2):
            outcome = offramp.process([*records, broken])
            assert [p.event.record.offset for p in outcome.predictions] == [0, 1, 2, 3, 4]
            assert [letter.error_class for letter in outcome.dead_letters] == ["invalid-utf8"]
    with RedisStore(redis_url) as store:
        (report,) = read_reports(store, "default")
    assert (report.domain, report.texts) == ("films", 5)


def test_redis_away_is_one_error_of_ours_at_the_start_and_stops_nothing_later(redis_url, model):
    """A host is told in one sentence and left with no thread; one that runs predicts on."""
    away = {"redis.url": "redis://127.0.0.1:1/0", "model.path": str(model)}
    threads = threading.active_count()
    with pytest.raises(StoreUnavailable, match="redis did not answer"):
        Offramp(load_settings(options=away))
    assert threading.active_count() == threads
    parts = urlsplit(redis_url)
    proxy = Proxy(parts.port or 6379)
    url = redis_url.replace(f":{parts.port}", f":{proxy.port}")
    there = {"redis.url": url, "redis.timeout_s": "0.2", "model.path": str(model)}
    with Offramp(load_settings(options=there)) as offramp:
        proxy.close()
        record = Record("texts.films", 0, 0, 0, None, b"good film .")
        assert len(offramp.process([record]).predictions) == 1
        asking = [t for t in threading.enumerate() if t.name == "await-store"]
        assert asking
    for thread in asking:
        thread.join(10)
        assert not thread.is_alive()


def test_hosts_see_each_other_and_what_all_have_learnt(redis_url, model):
    """Each shows itself as a worker does; how many share the counters tells how much to explore."""
    names = ("host-1", "host-2")
    records = [Record("texts.films", 0, i, 0, None, b"good film .") for i in range(5)]
    for number, name in enumerate(names):
        options = {"redis.url": redis_url, "model.path": str(model), "instance": name}
        with Offramp(load_settings(options=options)) as offramp, RedisStore(redis_url) as store:
            offramp.process(records)
            alive = store.workers()
            assert sorted(alive) == sorted(names[: number + 1])
            assert {worker["group"] for worker in alive.values()} == {"offramp"}
            assert offramp.presence.peers.workers == number + 1
            assert offramp.presence.peers.pool is not None
            assert offramp.presence.peers.pool.texts == 5 * number
    other = {"instance": "host-3", "policy.name": "other"}
    with Offramp(load_settings(options=options | other)) as offramp:
        offramp.process(records)
        assert offramp.presence.peers.pool is not None
        assert (offramp.presence.peers.workers, offramp.presence.peers.pool.texts) == (1, 0)


def test_a_topic_made_anew_is_counted_where_the_host_tells_its_id(redis_url, model):
    """Offsets that start at 0 again are new texts under a new id, and known ones under the name."""
    settings = load_settings(options={"redis.url": redis_url, "model.path": str(model)})
    records = [Record("texts.films", 0, i, 0, None, b"good film .") for i in range(5)]
    ids = {"texts.films": "first"}
    with Offramp(settings, topic_id=ids.__getitem__) as offramp:
        offramp.process(records)
        ids["texts.films"] = "second"
        offramp.process(records)
        offramp.process(records)
    with RedisStore(redis_url) as store:
        (report,) = read_reports(store, "default")
        assert set(store.watermarks()) == {"first/0", "second/0"}
    assert report.texts == 10


def test_a_host_tells_what_is_no_text_and_leads_no_workers(redis_url, model):
    """Offsets between batches that it says it has read over are no gaps; by default they are.

    Where workers run beside it, one of them copies what people set, whatever the host is called.
    """
    options = {"redis.url": redis_url, "model.path": str(model), "instance": "a"}

    def record(offset, topic):
        return Record(topic, 0, offset, 0, None, b"good film .")

    with Offramp(load_settings(options=options)) as host, RedisStore(redis_url) as store:
        for topic, begins in (("texts.a", None), ("texts.b", {("texts.b", 0): 3})):
            host.process([record(0, topic), record(2, topic)])
            host.process([record(5, topic)], begins=begins)
        read_reports(store, "default")  # opens it
        marks = store.watermarks()
        assert {source: mark.gaps for source, mark in marks.items()} == {
            "texts.a/0": ((3, 5),),
            "texts.b/0": (),
        }
        host.process([record(6, "texts.a")])
        meta = store.describe().meta
        worker = Presence(store, Counting(store, store.open(meta), by="w"), meta, instance="w")
        worker.keep_up(lambda: {"group": "offramp", "partitions": ""})
        assert set(store.workers()) == {"a", "w"}
        assert worker.leads


GOOD = b"good film .\nbad , very bad service .\n" * 40


def run_example(*command, redis_url, model, given=None, **environ):
    """Run an example of the docs as its reader does, and return what it said."""
    ours = {"OFFRAMP_REDIS__URL": redis_url, "OFFRAMP_MODEL__PATH": str(model)}
    result = subprocess.run(
        [sys.executable, "-m", *command],
        env={**os.environ, **ours, **environ},
        cwd=REPOSITORY,
        input=given,
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr.decode()
    return result


def counted(redis_url):
    with RedisStore(redis_url) as store:
        return {report.domain: report.texts for report in read_reports(store, "default")}


def test_the_bytewax_example_runs(redis_url, model, tmp_path):
    """The dataflow of the docs predicts every line of a file, and the domain learns from them."""
    pytest.importorskip("bytewax", reason="bytewax is not installed")
    lines = tmp_path / "lines.txt"
    lines.write_bytes(GOOD + b"\xff\n")
    flow = ("bytewax.run", "docs.examples.bytewax_flow")
    result = run_example(*flow, redis_url=redis_url, model=model, LINES=str(lines))
    *said, refused = result.stdout.decode().splitlines()
    assert refused == "texts.lines[0]@80: invalid-utf8"
    assert [orjson.loads(line)["source"]["offset"] for line in said] == list(range(80))
    assert counted(redis_url) == {"lines": 80}


def test_the_plain_loop_runs(redis_url, model):
    """The loop of the docs predicts every line, names what is none, and learns nothing twice."""
    for _ in range(2):
        loop = {"redis_url": redis_url, "model": model, "given": GOOD + b"\xff\n"}
        result = run_example("docs.examples.plain_loop", **loop)
        said = [orjson.loads(line)["source"]["offset"] for line in result.stdout.splitlines()]
        assert said == list(range(80))
        assert b"texts.lines[0]@80: not UTF-8" in result.stderr
    assert counted(redis_url) == {"lines": 80}


@pytest.mark.skipif(not IS_LONG, reason="half a minute; `make chaos` runs it")
def test_the_quix_example_runs(kafka, redis_url, model):
    """The application of the docs writes a prediction for every text of a topic, and counts it."""
    pytest.importorskip("quixstreams", reason="quixstreams is not installed")
    domain = f"quix{time.time_ns()}"
    out, letters = f"{domain}-out", f"{domain}-letters"
    create_topics(kafka, {f"texts.{domain}": 1, out: 1, letters: 1})
    send(kafka, f"texts.{domain}", [(b"k", value) for value in [*GOOD.splitlines(), b"\xff"]])
    run_example(
        "docs.examples.quix_app",
        redis_url=redis_url,
        model=model,
        TOPIC=f"texts.{domain}",
        STOP_IDLE_AFTER_S="10",
        OFFRAMP_KAFKA__BOOTSTRAP_SERVERS=kafka,
        OFFRAMP_KAFKA__GROUP=domain,
        OFFRAMP_KAFKA__DEAD_LETTERS=letters,
        OFFRAMP_ROUTES=orjson.dumps([{"topics": r"texts\.(?P<domain>.+)", "output": out}]).decode(),
    )
    offsets = [orjson.loads(r.value)["source"]["offset"] for r in read_topic(kafka, out, want=80)]
    assert offsets == list(range(80))
    assert [r.value for r in read_topic(kafka, letters, want=1)] == [b"\xff"]
    assert counted(redis_url) == {domain: 80}
