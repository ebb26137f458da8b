"""Two workers with a gate on a real Kafka and a real Redis: sure texts stop sooner, all count."""

import random
from collections import Counter

import orjson
from kafka import KafkaProducer

from model.calibration import Calibration, write_calibration
from model.engine.engine import Engine
from policy_state.store.redis.store import RedisStore
from tests.support.kafka_records import read_topic
from tests.support.policies.written import counters_of
from tests.support.tiny_model import WORDS, tiny_config, write_tiny_model
from tests.support.waiting import wait_for
from tests.support.workers.fleet import DOMAINS, offramp_json, topic_of

EVENTS = 4_000
CALIBRATION = Calibration((0.3, 0.3, 0.3), (0.25, 0.1), 500, (9, 9), (0.1,) * 3, (0.0,) * 3)


def texts_of(folder):
    """Return texts on which all exits agree, and one on which they do not."""
    chance = random.Random(0)
    texts = [" ".join(chance.choices(WORDS, k=1 + i % 12)) for i in range(400)]
    engine = Engine(folder, device="cpu", precision="fp32")
    results = engine.run(texts, [2] * len(texts))
    alike = [t for t, r in zip(texts, results, strict=True) if len(set(r.labels)) == 1]
    unlike = [t for t, r in zip(texts, results, strict=True) if r.labels[0] != r.labels[2]]
    return alike, unlike[0]


def test_sure_texts_stop_sooner_and_every_text_is_predicted_and_counted_once(
    fleet, kafka, redis_url, tmp_path
):
    """One prediction an event, most let go by the gate, and the counters are those of a rebuild."""
    folder = write_tiny_model(tmp_path, config=tiny_config(exit_layers=(1, 2, 4)))
    write_calibration(folder, CALIBRATION)
    alike, unlike = texts_of(folder)
    fleet.environ |= {
        "OFFRAMP_MODEL__PATH": str(folder),
        "OFFRAMP_POLICY__GATE": "0.99",
        "OFFRAMP_POLICY__COST": "[1, 1, 1]",  # depth is free, so domains settle on the last exit
        "OFFRAMP_POLICY__HOLDOUT": "0.05",
    }
    for name in "ab":
        fleet.start(name)
    with RedisStore(redis_url) as store:
        wait_for(lambda: len([w for w in store.workers().values() if w.get("partitions")]) == 2)
    producer = KafkaProducer(bootstrap_servers=kafka, acks="all", linger_ms=20)
    for i in range(EVENTS):
        text = unlike if i % 400 == 0 else alike[i % len(alike)]
        value = orjson.dumps({"id": f"e{i}", "text": text, "domain": DOMAINS[i % 2]})
        producer.send(topic_of(fleet.prefix, DOMAINS[i % 2]), key=f"k{i}".encode(), value=value)
        if i % 500 == 0:
            producer.flush(timeout=30)
    producer.flush(timeout=30)
    producer.close()

    values = [r.value for r in read_topic(kafka, f"{fleet.prefix}-out", want=EVENTS)]
    predictions = [orjson.loads(value) for value in values]
    counts = Counter(p["id"] for p in predictions)
    assert counts == Counter(f"e{i}" for i in range(EVENTS)), fleet.log("a")[-2000:]
    met = [p for p in predictions if "gate" in p]
    let_go = [p for p in met if "chosen_exit" in p]
    assert len(let_go) > EVENTS / 4
    for p in met:
        assert max(p["exit_scores"][:-1], default=0) < p["gate"]  # sure at no exit before its own
        assert p["exit_scores"][-1] >= p["gate"] or p["exit"] == 2
        assert p.get("chosen_exit", p["exit"]) == 2
    held = [p for p in predictions if "chosen_exit" in p and "gate" not in p]
    assert {p["exit"] for p in held} == {2}
    assert {p["chosen_exit"] for p in held} >= {0, 2}

    def counters():
        with RedisStore(redis_url) as store:
            meta = store.find("default")
            assert meta is not None
            store.open(meta)
            return {name: one.stats for name, one in store.read(store.domains()).items()}

    wait_for(lambda: sum(one.all_texts for one in counters().values()) == EVENTS)
    live = counters()
    assert live == counters_of(values, 3)
    assert sum(sum(one.gated) for one in live.values()) == len(met)
    fleet.stop()
    offramp_json(fleet, "policy", "rebuild", "--fresh", "--yes", "--reason", "to compare")
    assert counters() == live
