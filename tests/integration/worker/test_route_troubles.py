"""A trouble that one route has holds up that route alone, until it is mended; on a real broker."""

import re
import time
from collections import Counter

import orjson
import pytest
from kafka import KafkaAdminClient, KafkaProducer

from consumer.kafka.topics import NewTopic, create_new_topics
from consumer.settings.sections import KafkaSettings
from tests.support.kafka_admin import configure
from tests.support.kafka_records import read_topic
from tests.support.servers.registry import SchemaRegistry, framed
from tests.support.topics import create_topics
from tests.support.waiting import wait_for
from tests.support.workers.fleet import offramp_json

FREE_WORKER = "tests.support.workers.crashing_worker"  # it starts without torch
COUNT = 200


@pytest.fixture
def shop(fleet, kafka):
    """Two routes with an input and an output each; `ill` has no output yet."""
    prefix = fleet.prefix
    fleet.well, fleet.ill = f"{prefix}-well", f"{prefix}-ill"
    fleet.well_out, fleet.ill_out = f"{prefix}-well-out", f"{prefix}-ill-out"
    routes = [
        {"name": "well", "topics": fleet.well, "output": fleet.well_out},
        {"name": "ill", "topics": fleet.ill, "output": fleet.ill_out},
    ]
    fleet.environ["OFFRAMP_ROUTES"] = orjson.dumps(routes).decode()
    create_topics(kafka, {fleet.well: 2, fleet.ill: 2, fleet.well_out: 2})
    return fleet


def send(kafka, topic, first, upto, **parts):
    """Write texts whose ids are numbers, or other parts, and return when they are there."""
    producer = KafkaProducer(bootstrap_servers=kafka, acks="all", linger_ms=5)
    for i in range(first, upto):
        text = orjson.dumps({"id": str(i), "text": "good film ."})
        record = {"key": str(i).encode(), "value": text, **parts}
        producer.send(topic, partition=i % 2, **record)
    producer.flush(timeout=30)
    producer.close()


def ids(kafka, topic, *, want):
    """Return how often each id was predicted."""
    return Counter(orjson.loads(r.value)["id"] for r in read_topic(kafka, topic, want=want))


def each_once(first, upto):
    return Counter(map(str, range(first, upto)))


def begun(fleet, what):
    """Return what the log says stands still."""
    pattern = rf"stands still partitions=(\S+) what='{re.escape(what)}' cause=(.+?) fix=(.+?) for_s"
    return re.findall(pattern, fleet.log("a"))


def test_a_route_without_its_output_waits_and_the_others_go_on(shop, kafka):
    """It stands still, seen in log and heartbeat, until the topic is there: each text once."""
    send(kafka, shop.ill, 0, COUNT)
    worker = shop.start("a", FREE_WORKER)
    what = f"topic {shop.ill_out}"
    wait_for(lambda: begun(shop, what))
    at = time.monotonic()
    for first in range(0, 5 * COUNT, COUNT):
        send(kafka, shop.well, first, first + COUNT)
        time.sleep(0.5)
    assert ids(kafka, shop.well_out, want=5 * COUNT) == each_once(0, 5 * COUNT)
    assert time.monotonic() - at < 20
    assert "batches given back" not in shop.log("a")
    (said,) = [w["stands_still"] for w in offramp_json(shop, "policy", "workers")["workers"]]
    assert said.startswith(f"{what} does not exist ({shop.ill}[0],{shop.ill}[1])")
    create_topics(kafka, {shop.ill_out: 2})
    assert ids(kafka, shop.ill_out, want=COUNT) == each_once(0, COUNT)
    wait_for(lambda: f"continues what='{what}'" in shop.log("a"))
    assert len(begun(shop, what)) == 1
    assert worker.poll() is None
    assert "offramp topics init" in begun(shop, what)[0][2]


def test_an_output_deleted_under_a_worker_holds_up_its_route_alone(shop, kafka):
    """What was under way is committed without it; with the topic back each is predicted once."""
    create_topics(kafka, {shop.ill_out: 2})
    shop.start("a", FREE_WORKER)
    for topic in (shop.well, shop.ill):
        send(kafka, topic, 0, COUNT)
    assert ids(kafka, shop.ill_out, want=COUNT) == each_once(0, COUNT)
    with KafkaAdminClient(bootstrap_servers=kafka) as admin:
        admin.delete_topics([shop.ill_out])
    for topic in (shop.ill, shop.well):
        send(kafka, topic, COUNT, 2 * COUNT)
    assert ids(kafka, shop.well_out, want=2 * COUNT) == each_once(0, 2 * COUNT)
    wait_for(lambda: begun(shop, f"topic {shop.ill_out}"))
    create_topics(kafka, {shop.ill_out: 2})
    assert ids(kafka, shop.ill_out, want=COUNT) == each_once(COUNT, 2 * COUNT)


def test_without_a_dead_letter_topic_only_what_has_a_dead_letter_waits(shop, kafka):
    """The other partition of the same topic continues; with the topic there nothing is lost."""
    create_topics(kafka, {shop.ill_out: 2})
    with KafkaAdminClient(bootstrap_servers=kafka) as admin:
        admin.delete_topics([f"{shop.prefix}-dead"])
    shop.start("a", FREE_WORKER)
    what = f"topic {shop.prefix}-dead"
    wait_for(lambda: begun(shop, what))
    assert begun(shop, what)[0][0] == "none"
    send(kafka, shop.ill, 0, 1, value=b"{")  # to partition 0
    send(kafka, shop.ill, 0, COUNT)
    odd = Counter({i: n for i, n in each_once(0, COUNT).items() if int(i) % 2})
    assert ids(kafka, shop.ill_out, want=COUNT // 2) == odd
    create_topics(kafka, {f"{shop.prefix}-dead": 1})
    assert ids(kafka, shop.ill_out, want=COUNT) == each_once(0, COUNT)
    assert [r.value for r in read_topic(kafka, f"{shop.prefix}-dead", want=1)] == [b"{"]


def test_a_compacted_output_holds_up_texts_without_keys_alone(shop, kafka):
    """It is said what is refused and why; once it is no longer compacted each is predicted once."""
    compacted = NewTopic(shop.ill_out, 2, 1, {"cleanup.policy": "compact"})
    create_new_topics(KafkaSettings(bootstrap_servers=kafka), [compacted])
    shop.start("a", FREE_WORKER)
    send(kafka, shop.ill, 0, COUNT)
    assert ids(kafka, shop.ill_out, want=COUNT) == each_once(0, COUNT)
    send(kafka, shop.ill, COUNT, 2 * COUNT, key=None)
    send(kafka, shop.well, 0, COUNT, key=None)
    assert ids(kafka, shop.well_out, want=COUNT) == each_once(0, COUNT)
    wait_for(lambda: begun(shop, f"topic {shop.ill_out}"))
    ((_, cause, mend),) = begun(shop, f"topic {shop.ill_out}")
    assert cause == "'is compacted and refuses records without keys'"
    assert f"kafka-configs.sh --alter --entity-type topics --entity-name {shop.ill_out}" in mend
    with KafkaAdminClient(bootstrap_servers=kafka) as admin:
        configure(admin, shop.ill_out, cleanup_policy="delete")
    assert ids(kafka, shop.ill_out, want=2 * COUNT) == each_once(0, 2 * COUNT)


def test_a_worker_whose_every_route_stands_still_lives_and_says_so(shop, kafka):
    """It does not end after the time that errors may take, and continues with the first topic."""
    shop.environ["OFFRAMP_WORKER__GIVE_UP_S"] = "1"
    with KafkaAdminClient(bootstrap_servers=kafka) as admin:
        admin.delete_topics([shop.well_out])
    for topic in (shop.ill, shop.well):
        send(kafka, topic, 0, COUNT)
    worker = shop.start("a", FREE_WORKER)
    wait_for(lambda: "all stand still" in shop.log("a"))
    time.sleep(3)
    assert worker.poll() is None
    create_topics(kafka, {shop.well_out: 2})
    assert ids(kafka, shop.well_out, want=COUNT) == each_once(0, COUNT)


def test_a_schema_that_its_registry_does_not_tell_holds_up_its_topic_alone(shop, kafka):
    """Topics of other schemas continue meanwhile; with an answer each text is predicted once."""
    create_topics(kafka, {shop.ill_out: 2})
    schema = {"type": "record", "name": "R", "fields": [{"name": "text", "type": "string"}]}
    good = b"\x16good film ."
    with SchemaRegistry().running() as registry:
        registry.add(7, schema)
        registry.failing = {8: 503}
        shop.environ |= {
            "OFFRAMP_KAFKA__FORMAT": "avro",
            "OFFRAMP_KAFKA__REGISTRY__URL": registry.url,
        }
        send(kafka, shop.ill, 0, 4, value=framed(8, good))
        shop.start("a", FREE_WORKER)
        wait_for(lambda: begun(shop, f"texts of {shop.ill}"))
        send(kafka, shop.well, 0, 4, value=framed(7, good))
        assert len(read_topic(kafka, shop.well_out, want=4)) == 4
        registry.failing = {}  # now it has not the schema, and so it continues waiting
        wait_for(lambda: "answers 404" in shop.log("a"))
        assert "dead_letters=1" not in shop.log("a")
        registry.add(8, schema)
        assert len(read_topic(kafka, shop.ill_out, want=4)) == 4
    assert "answers 503" in begun(shop, f"texts of {shop.ill}")[0][1]
    assert "batches given back" not in shop.log("a")
