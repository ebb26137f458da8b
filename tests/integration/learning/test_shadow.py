"""A new model in the shadow of a live worker, on a real Kafka and a real Redis."""

import os
import subprocess
import sys
import time
from collections import Counter

import orjson
import pytest

from benchmarks.free_model import FreeModel
from consumer.errors import InvalidSettings
from consumer.settings.load import load_settings
from consumer.shadow.run import Shadow, ShadowOptions
from model.engine.engine import Engine
from policy_state.store.redis.shadow import RedisShadow
from policy_state.store.redis.store import RedisStore
from policy_state.store.values import PolicyMeta
from policy_state.transfer.transfer import export_policy
from tests.support.kafka_records import committed_records, read_topic, send
from tests.support.tiny_model import WORDS, write_tiny_model
from tests.support.topics import create_topics
from tests.support.waiting import wait_for
from tests.support.workers.fleet import offramp_json, topic_of

WORKER = "tests.support.workers.crashing_worker"  # it starts without torch
WAVES, WAVE = 2, 200
BAD = [(b"bad", b'{"text": ')] * 5


def texts_of(wave):
    """Return the texts of a wave with their domains; no two are the same."""
    some = range(wave * WAVE, (wave + 1) * WAVE)
    return [
        (f"{WORDS[i % 12]} {WORDS[i // 12 % 12]} {i}", ("films", "hotels")[i % 2]) for i in some
    ]


def compared(store):
    """Return what was compared, by live model and domain."""
    shadow = RedisShadow(store.server, "default")
    return {
        (pair.live.fingerprint, domain): shadow.read(pair, domain)
        for pair in shadow.pairs()
        for domain in shadow.domains(pair)
    }


def test_a_new_model_is_compared_on_every_text_once_and_nothing_else_changes(
    fleet, kafka, redis_url, tmp_path
):
    """Killed and started again it counts each text once; policy and predictions are untouched."""
    new = write_tiny_model(tmp_path / "new", seed=1)
    engine = Engine(new, device="cpu", precision="fp32")
    topic, out = topic_of(fleet.prefix, "films"), f"{fleet.prefix}-out"
    fleet.start("a", WORKER)
    with RedisStore(redis_url) as store:
        predict(fleet, kafka, wave=0)
        command = ["shadow", "--model", str(new), "--since", "1h", "--share", "1"]
        command += ["--set", "model.precision=fp32"]
        with (tmp_path / "shadow.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "consumer", *command],
                env={**os.environ, **fleet.environ, "OMP_NUM_THREADS": "1"},
                stderr=log,
            )
        wait_for(lambda: compared(store))
        process.kill()
        process.wait()
        predict(fleet, kafka, wave=1)
        fleet.stop()
        meta = store.find("default")
        assert meta is not None
        store.open(meta)
        before = export_policy(store)
        settings = load_settings(
            options={
                "kafka.bootstrap_servers": kafka,
                "kafka.group": fleet.prefix,
                "redis.url": redis_url,
                "routes": orjson.loads(fleet.environ["OFFRAMP_ROUTES"]),
            }
        )
        Shadow(settings, ShadowOptions(share=1, wait_s=0.5), store, engine).follow(for_s=4)
        assert export_policy(store) == before
        assert before.domains["films"].stats.texts == WAVE
        predictions = [orjson.loads(r.value) for r in committed_records(kafka, out)]
        assert len(predictions) == WAVES * WAVE
        found = compared(store)
    texts = [text for wave in range(WAVES) for text, _ in texts_of(wave)]
    results = engine.run(texts, [2] * len(texts))
    said = dict(zip(texts, results, strict=True))
    by_id = dict(zip([r.offset for r in _good(kafka, topic)], texts, strict=True))
    for domain in ("films", "hotels"):
        counts = found[meta.fingerprint, domain]
        mine = [p for p in predictions if p["domain"] == domain]
        assert counts.texts == len(mine) == WAVE
        for j in range(3):
            labels = [said[by_id[p["source"]["offset"]]].labels[j] for p in mine]
            names = [engine.config.labels[label] for label in labels]
            assert counts.same[j] == sum(
                a == p["label_name"] for a, p in zip(names, mine, strict=True)
            )
        stops = Counter(p["exit"] for p in mine)
        assert counts.stopped == tuple(stops[k] for k in range(3))
        assert counts.full == stops[2]
        assert 0 < sum(counts.same) < 3 * WAVE
        assert counts.micros > 0

    shown = offramp_json(fleet, "policy", "show", "films", "--shadow")
    (one,) = shown["comparisons"]
    assert (shown["kind"], one["texts"], one["live"]["fingerprint"]) == (
        "policy-shadow",
        WAVE,
        meta.fingerprint,
    )
    assert one["exits"][2]["same"]["share"] == found[meta.fingerprint, "films"].same[2] / WAVE
    plain = subprocess.run(
        [sys.executable, "-m", "consumer", "policy", "show", "films", "--shadow"],
        env={**os.environ, **fleet.environ},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    assert "beside live" in plain
    assert one["verdict_said"] in " ".join(plain.replace("\n  ", " ").split())


def _good(kafka, topic):
    """Return the records of an input that can be predicted."""
    return [record for record in read_topic(kafka, topic, want=1) if record.key == b"k"]


def predict(fleet, kafka, *, wave):
    """Write a wave of texts, some bad records after them, and wait for the predictions."""
    rows = [{"text": text, "domain": domain} for text, domain in texts_of(wave)]
    records = [(b"k", orjson.dumps(row)) for row in rows]
    send(kafka, topic_of(fleet.prefix, "films"), records + BAD)
    out, want = f"{fleet.prefix}-out", (wave + 1) * WAVE
    wait_for(lambda: len(committed_records(kafka, out)) == want)


class NewModel(FreeModel):
    """The model of the next release."""

    fingerprint = "fe11"


@pytest.fixture
def stream(kafka, redis_url):
    """Settings of a shadow, its store with a policy, and what writes texts and predictions."""
    prefix = f"sh{time.time_ns()}"
    create_topics(kafka, {f"{prefix}.in": 1, f"{prefix}.other": 1, f"{prefix}.out": 1})
    settings = load_settings(
        options={
            "kafka.bootstrap_servers": kafka,
            "kafka.group": prefix,
            "redis.url": redis_url,
            "routes": [{"topics": rf"{prefix}\.in", "output": f"{prefix}.out"}],
        }
    )
    with RedisStore(redis_url) as store:
        for name, fingerprint in (("default", "a1"), ("default@b2", "b2")):
            store.open(PolicyMeta(name, fingerprint, (1, 3, 12)))
        yield settings, store, prefix


def prediction(topic, offset, *, model="a1", **more):
    """Return a prediction as a worker writes it."""
    row = {
        "version": 1,
        "domain": "films",
        "label": 1,
        "label_name": "positive",
        "exit_labels": [1],
        "model": model,
        "source": {"topic": topic, "partition": 0, "offset": offset},
    }
    return b"k", orjson.dumps(row | more)


def follow(settings, store, *, for_s=3.0, **options):
    """Let a shadow run for a while."""
    shadow = Shadow(settings, ShadowOptions(share=1, wait_s=0.5, **options), store, NewModel())
    shadow.follow(for_s=for_s)
    return shadow


def test_what_cannot_be_compared_is_left_out_and_the_rest_is_compared(stream, kafka, caplog):
    """Forged places, texts that are gone, other records: none holds up the shadow or is counted."""
    settings, store, prefix = stream
    texts = [(b"k", b"a"), (b"k", b'{"x": 1}'), (b"k", b"aaaa")]
    send(kafka, f"{prefix}.in", texts)
    send(kafka, f"{prefix}.other", texts)
    into = f"{prefix}.in"
    source = {"topic": into, "partition": 0, "offset": 2}
    rows = [
        prediction(into, 0),
        prediction(into, 1),  # its text cannot be parsed
        prediction(into, 999_999),  # beyond the end
        prediction(f"{prefix}.other", 0),  # no route reads it
        prediction(f"{prefix}.gone", 0),
        prediction(into, 2, source={**source, "partition": 7}),
        prediction(into, 2, source={**source, "topic_id": "00000000-0000-0000-0000-000000000001"}),
        prediction(into, 2, model="ffff"),  # of no policy
        prediction(into, 2, model=NewModel.fingerprint),
        prediction(into, 2, exit_labels=[1] * 9),
        (b"k", b"nonsense"),
        (b"k", None),
        prediction(into, 2, model="b2", exit_labels=[1, 1, 1]),  # the live model rolled
    ]
    send(kafka, f"{prefix}.out", rows)
    with caplog.at_level("INFO", "offramp.shadow"):
        follow(settings, store)
    found = compared(store)
    assert {key: counts.texts for key, counts in found.items()} == {
        ("a1", "films"): 1,
        ("b2", "films"): 1,
    }
    assert found["a1", "films"].same == (1, 1, 1)
    assert (found["b2", "films"].full, found["b2", "films"].full_same) == (1, 0)
    assert "unreadable=6 not_live=5 behind=0" in caplog.text
    follow(settings, store, for_s=1.5)
    assert compared(store) == found


def test_a_shadow_begins_now_unless_it_is_told_otherwise_and_continues_where_it_was(stream, kafka):
    """What was predicted before is left out; what comes while it is away is compared later."""
    settings, store, prefix = stream
    into, out = f"{prefix}.in", f"{prefix}.out"
    send(kafka, into, [(b"k", b"a")] * 4)
    send(kafka, out, [prediction(into, 0)])
    now_ms = int(time.time() * 1000) + 1
    follow(settings, store, for_s=1.5, since_ms=now_ms)
    assert compared(store) == {}
    send(kafka, out, [prediction(into, 1), prediction(into, 2)])
    shadow = follow(settings, store, for_s=30, texts=2, since_ms=now_ms + 10**9)
    assert shadow.done
    assert compared(store)["a1", "films"].texts == 2


def test_a_shadow_that_cannot_compare_says_why(stream, kafka):
    """The live model itself, and a label without a match, until it is mapped."""
    settings, store, prefix = stream

    class LiveModel(FreeModel):
        fingerprint = "a1"

    with pytest.raises(InvalidSettings, match="is the live model of policy default"):
        Shadow(settings, ShadowOptions(), store, LiveModel())
    into, out = f"{prefix}.in", f"{prefix}.out"
    send(kafka, into, [(b"k", b"a")] * 2)
    send(kafka, out, [prediction(into, 0, label_name="good")])
    with pytest.raises(InvalidSettings, match="--label good=NAME"):
        follow(settings, store)
    assert compared(store) == {}
    follow(settings, store, for_s=1.5, names={"good": "positive"})
    assert compared(store)["a1", "films"].same[-1] == 1
