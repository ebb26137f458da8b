"""One event in twenty is bad, in every way known: on a real broker, with a real worker."""

from collections import Counter

import orjson
import psutil

from tests.support.kafka_records import good, ids, read_topic, send
from tests.support.waiting import wait_for
from tests.support.workers.fleet import topic_of

EVENTS = 5_000
EVERY = 20  # one bad event in so many
_MIB = 1 << 20
BAD = [
    (b"\xff\xfe text", "invalid-utf8"),
    (b'{"text": "a"', "invalid-json"),
    (b'{"id": "x"}', "missing-text"),
    (b'{"text": null}', "missing-text"),
    (None, "null-value"),
    (b'{"text": ' + b"[" * 20_000 + b"]" * 20_000 + b"}", "invalid-json"),
    (b'{"text": "' + b"a" * (900 << 10), "invalid-json"),  # close to what the broker takes
    (b"", "empty-text"),
    (b'{"text": "a", "timestamp": 1000000000000000000000}', "invalid-field"),
    (b'{"text": "a", "id": ' + b"9" * 600 + b"}", "invalid-field"),
    (b'[{"text": "a"}]', "unclear-format"),
    (b"\x00\x00\x00\x00\x07good film", "unclear-format"),
    (b'{"text": " "}', "empty-text"),
    (b'{"text": "a", "domain": "\\u202eab"}', "invalid-domain"),
    (b'{"text": "a", "domain": "' + b"d" * 500 + b'"}', "invalid-domain"),
    (b'{"text": "a", "domain": "a\\u0000b"}', "invalid-domain"),
]
HUGE = orjson.dumps({"id": "huge", "text": "good " * 180_000, "domain": "films"})  # 0.9 MB

EARLY = b'{"id": "early", "text": "good", "timestamp": "0001-01-01T00:00:00+01:00"}'


def test_bad_events_are_dead_letters_and_all_others_are_predicted_once(fleet, kafka):
    """Each bad event has its class, each other one prediction, and memory stays as it was."""
    topic = topic_of(fleet.prefix, "films")
    records = good(EVENTS)
    expected: Counter[str] = Counter()
    for n, offset in enumerate(range(EVERY - 1, EVENTS, EVERY)):
        value, error_class = BAD[n % len(BAD)]
        records[offset] = (b"\xff\x00\x80" + b"%d" % n, value)  # the key is binary, too
        expected[error_class] += 1
    records[EVENTS // 2] = (b"\x00", HUGE)
    records[EVENTS // 2 + 1] = (None, EARLY)
    worker = fleet.start("a")
    send(kafka, topic, records[: EVENTS // 2])
    out, dead = f"{fleet.prefix}-out", f"{fleet.prefix}-dead"
    half = EVENTS // 2 * (EVERY - 1) // EVERY
    wait_for(lambda: fleet.log("a").count(" events=") >= 1)
    ids(kafka, out, want=half)
    warm = psutil.Process(worker.pid).memory_info().rss
    send(kafka, topic, records[EVENTS // 2 :])
    good_ids = Counter(
        orjson.loads(value)["id"]
        for i, (_, value) in enumerate(records)
        if (i + 1) % EVERY and value is not None
    )
    assert Counter(ids(kafka, out, want=len(good_ids))) == good_ids, fleet.log("a")[-3000:]
    letters = read_topic(kafka, dead, want=expected.total())
    found = Counter(dict(r.headers)["offramp.error.class"].decode() for r in letters)
    assert found == expected
    grown = psutil.Process(worker.pid).memory_info().rss - warm
    assert grown < 100 * _MIB, f"{grown / _MIB:.0f} MiB"
