"""What becomes of records that cannot be used, by the settings `errors.*`; on a real broker."""

from collections import Counter

import orjson

from policy_state.backends.redis import RedisStore
from policy_state.report import read_reports
from tests.integration.test_produce_errors import good, ids, send, set_limit
from tests.integration.test_stream import fleet, model_folder, read_topic, topic_of

__all__ = ["fleet", "model_folder"]

BAD_PARSE = (b"k", b"\xff")
BAD_ROUTE = (b"k", b'{"text": "good", "domain": "a\\u0000b"}')
BAD_PRODUCE = (b"k" * 4_000, orjson.dumps({"id": "long", "text": "good film .", "domain": "films"}))


def sent(count):
    return Counter(f"e{i}" for i in range(count))


def test_skipped_records_are_written_nowhere_and_the_batch_goes_on(fleet, kafka, redis_url):
    """At each stage: the log names them, all others are predicted once and counted once."""
    out, dead = f"{fleet.prefix}-out", f"{fleet.prefix}-dead"
    set_limit(kafka, out, 3_000)
    stages = {"parse": BAD_PARSE, "route": BAD_ROUTE, "produce": BAD_PRODUCE}
    fleet.environ |= {f"OFFRAMP_ERRORS__{stage.upper()}": "skip" for stage in stages}
    records = good(300)
    for place, bad in zip((10, 20, 30), stages.values(), strict=True):
        records[place] = bad
    topic = topic_of(fleet.prefix, "films")
    send(kafka, topic, records)
    fleet.start("a")
    expected = Counter(f"e{i}" for i in range(300) if i not in {10, 20, 30})
    assert Counter(ids(kafka, out, want=297)) == expected, fleet.log("a")[-3000:]
    for place, reason in ((10, "invalid-utf8"), (20, "invalid-domain"), (30, "prediction-too")):
        assert f"skipped place={topic}[0]@{place} reason={reason}" in fleet.log("a")
    assert read_topic(kafka, dead, want=0, timeout_s=3) == []
    with RedisStore(redis_url) as store:
        (films,) = read_reports(store, "default")
        assert films.exits[0].observed == 297


def test_a_worker_that_is_to_stop_names_the_record_and_loses_nothing(fleet, kafka):
    """It ends with exit code 1 before its batch is committed; with another setting it goes on."""
    out, dead = f"{fleet.prefix}-out", f"{fleet.prefix}-dead"
    topic = topic_of(fleet.prefix, "films")
    fleet.environ["OFFRAMP_ERRORS__PARSE"] = "stop"
    worker = fleet.start("a")
    send(kafka, topic, good(100))
    assert Counter(ids(kafka, out, want=100)) == sent(100), fleet.log("a")[-3000:]
    send(kafka, topic, [*good(50, first=100), BAD_PARSE, *good(50, first=150)])
    assert worker.wait(60) == 1
    last = fleet.log("a").splitlines()[-1]
    assert last.startswith(f"error: {topic}[0]@150: parse: "), last
    fleet.environ["OFFRAMP_ERRORS__PARSE"] = "dead-letter"
    fleet.start("a")
    assert Counter(ids(kafka, out, want=200)) == sent(200), fleet.log("a")[-3000:]
    (letter,) = read_topic(kafka, dead, want=1)
    assert letter.value == b"\xff"
