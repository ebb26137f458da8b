"""What becomes of records that cannot be used, by the settings `errors.*`; on a real broker."""

from collections import Counter

import orjson

from policy_state.reports.domain import read_reports
from policy_state.store.redis.store import RedisStore
from tests.support.kafka_admin import set_limit
from tests.support.kafka_records import good, ids, read_topic, send
from tests.support.workers.fleet import topic_of

BAD_PARSE = (b"k", b"\xff")
BAD_ROUTE = (b"k", b'{"text": "good", "domain": "a\\u0000b"}')
BAD_INFER = (b"k", b'{"text": "poison"}')
BAD_PRODUCE = (b"k" * 4_000, orjson.dumps({"id": "long", "text": "good film .", "domain": "films"}))
STAGES = {"parse": BAD_PARSE, "route": BAD_ROUTE, "infer": BAD_INFER, "produce": BAD_PRODUCE}
WORKER = "tests.support.workers.hanging_worker"  # its model fails on some texts


def test_skipped_records_are_written_nowhere_and_the_batch_goes_on(fleet, kafka, redis_url):
    """At each stage: the log names them, all others are predicted once and counted once."""
    out, dead = f"{fleet.prefix}-out", f"{fleet.prefix}-dead"
    set_limit(kafka, out, 3_000)
    fleet.environ |= {f"OFFRAMP_ERRORS__{stage.upper()}": "skip" for stage in STAGES}
    records = good(300)
    for offset, bad in zip((10, 20, 30, 40), STAGES.values(), strict=True):
        records[offset] = bad
    topic = topic_of(fleet.prefix, "films")
    send(kafka, topic, records)
    fleet.start("a", WORKER)
    expected = Counter(f"e{i}" for i in range(300) if i not in {10, 20, 30, 40})
    assert Counter(ids(kafka, out, want=296)) == expected, fleet.log("a")[-3000:]
    classes = ("invalid-utf8", "invalid-domain", "model-failed", "prediction-too-large")
    for offset, error_class in zip((10, 20, 30, 40), classes, strict=True):
        assert f"skipped position={topic}[0]@{offset} class={error_class}" in fleet.log("a")
    assert read_topic(kafka, dead, want=0, timeout_s=3) == []
    with RedisStore(redis_url) as store:
        (films,) = read_reports(store, "default")
        assert films.exits[0].observed == 296


def test_a_worker_that_is_to_stop_names_the_record_and_loses_nothing(fleet, kafka):
    """Exit code 1 before its batch is committed, at each stage; another setting continues."""
    out, dead = f"{fleet.prefix}-out", f"{fleet.prefix}-dead"
    set_limit(kafka, out, 3_000)
    topic = topic_of(fleet.prefix, "films")
    fleet.environ |= {f"OFFRAMP_ERRORS__{stage.upper()}": "stop" for stage in STAGES}
    fleet.environ["OFFRAMP_BATCH__MAX_EVENTS"] = "20"
    records = good(250)
    offsets = range(50, 250, 50)
    for offset, bad in zip(offsets, STAGES.values(), strict=True):
        records[offset] = bad
    send(kafka, topic, records)
    for offset, stage in zip(offsets, STAGES, strict=True):
        assert fleet.start("a", WORKER).wait(60) == 1, fleet.log("a")[-3000:]
        last = fleet.log("a").splitlines()[-1]
        assert f"{topic}[0]@{offset}: {stage}: " in last, last
        fleet.environ[f"OFFRAMP_ERRORS__{stage.upper()}"] = "dead-letter"
    fleet.start("a", WORKER)
    expected = Counter(f"e{i}" for i in range(250) if i not in offsets)
    assert Counter(ids(kafka, out, want=246)) == expected, fleet.log("a")[-3000:]
    letters = read_topic(kafka, dead, want=4)
    assert [(letter.key, letter.value) for letter in letters] == list(STAGES.values())
    stages = [dict(letter.headers)["offramp.error.stage"].decode() for letter in letters]
    assert stages == list(STAGES)
