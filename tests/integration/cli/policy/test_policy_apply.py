"""`offramp policy evaluate --apply` on a real Kafka and a real Redis: what labels correct."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from kafka import KafkaProducer
from typer.testing import CliRunner, Result

from consumer.cli.app import app
from policy_state.algorithms.settings import PolicySettings
from policy_state.labelled import LabelledDuels
from policy_state.stats import ExitStats
from policy_state.store.redis.store import RedisStore
from policy_state.store.values import PartitionDeltas, PolicyMeta
from tests.support.topics import create_topics

META = PolicyMeta("default", "f1", (1, 6, 12), calibrated=True)
NAMES = ("negative", "positive")
LABELS = LabelledDuels(600, (0, 300, 0), (0, 120, 0), (0, 180, 0))
Offramp = Callable[..., Result]


def texts() -> list[dict[str, object]]:
    """Return predictions of hotels and of a domain that no policy knows; exit 1 often errs."""
    found: list[dict[str, object]] = []
    for number in range(600):
        labels = [0, number % 2, number % 2]
        for domain in ("hotels", "unknown"):
            body: dict[str, object] = {
                "id": f"{domain}-{number}",
                "domain": domain,
                "label": labels[-1],
                "label_name": NAMES[labels[-1]],
                "exit_labels": labels,
                "model": "f1",
            }
            found.append(body)
    gated: dict[str, object] = found[-2] | {
        "id": "hotels-gated",
        "gate": 900,
        "exit_labels": [0, 1],
        "label": 1,
    }
    return [*found, gated | {"label_name": NAMES[1]}]


def truth(body: dict[str, object]) -> str:
    """Return the label: where exits 0 and 1 differ, exit 1 is right on 2 texts of 5."""
    number = int(str(body["id"]).rpartition("-")[2].replace("gated", "1"))
    return NAMES[number % 10 in {1, 3}]


@pytest.fixture
def store(redis_url: str) -> Iterator[RedisStore]:
    """Yield a store where hotels are settled at exit 1, and books at exit 0."""
    with RedisStore(redis_url) as opened:
        opened.open(META)
        changed, same = [(0, 1, 1)] * 500, [(0, 0, 0)] * 500
        hotels = ExitStats.from_texts(
            changed + same, exits=3, credits=[(0, 600, 0)] * 500 + [(0, 0, 0)] * 500
        )
        books = ExitStats.from_texts(same, exits=3, credits=[(0, 0, 0)] * 500)
        opened.apply([PartitionDeltas("t", 0, 0, 1700, {"hotels": hotels, "books": books})])
        yield opened


@pytest.fixture
def offramp(redis_url: str) -> Offramp:
    """Return a function that runs `offramp policy` or `offramp explain`."""

    def run(*args: object, kafka: str = "localhost:1", code: int = 0) -> Result:
        environ = {
            "OFFRAMP_REDIS__URL": redis_url,
            "OFFRAMP_KAFKA__BOOTSTRAP_SERVERS": kafka,
            "OFFRAMP_USER": "anna",
            "COLUMNS": "250",
        }
        words = [*([] if args[0] == "explain" else ["policy"]), *map(str, args)]
        result = CliRunner().invoke(app, words, env=environ)
        assert result.exit_code == code, (result.output, result.exception)
        return result

    return run


@pytest.fixture
def files(tmp_path: Path) -> list[object]:
    """Return the command for files of predictions and of labels."""
    predicted, labelled = tmp_path / "predictions.jsonl", tmp_path / "labels.tsv"
    predicted.write_bytes(b"\n".join(map(orjson.dumps, texts())))
    labelled.write_text("id\tlabel\n" + "".join(f"{b['id']}\t{truth(b)}\n" for b in texts()))
    return ["evaluate", "--labels", labelled, "--predictions", predicted, "--apply"]


def test_labels_are_previewed_and_change_the_exit_if_wanted(
    store: RedisStore, offramp: Offramp, files: list[object]
) -> None:
    """Without --yes nothing is done; with it the domain goes by its labels, signed in the audit."""
    before = store.read(["hotels", "books"])
    preview = offramp(*files, code=3).stderr
    assert "hotels: exit 1 -> 0" in preview
    assert "at exit 1 is worth 0.60 -> 0.00 (300 labelled duels, 120 won, 180 lost)" in preview
    assert "1 labelled domain left out, because the policy does not know it: unknown" in preview
    assert (store.read(["hotels", "books"]), store.audit()) == (before, ())
    said = json.loads(offramp(*files, "--yes", "--reason", "october", "-o", "json").stdout)
    (hotels,) = (row for row in said["domains"] if row["domain"] == "hotels")
    assert (hotels["exit"], hotels["correction"]) == (
        0,
        {
            "exit_before": 1,
            "exit_after": 0,
            "steps": [
                {
                    "exit": 1,
                    "duels": 300,
                    "wins": 120,
                    "losses": 180,
                    "worth_before": 0.6,
                    "worth_after": 0.0,
                }
            ],
        },
    )
    after = store.read(["hotels", "books"])
    assert after == dict(before) | {"hotels": replace(before["hotels"], labels=LABELS)}
    (entry,) = store.audit()
    assert (entry.action, entry.domain, entry.by, entry.reason) == (
        "label", "hotels", "anna", "october",
    )  # fmt: skip
    assert "labels of 600 texts, 300 duels" in offramp("audit").stdout


def test_the_same_labels_twice_count_once_and_can_be_taken_back(
    store: RedisStore, offramp: Offramp, files: list[object]
) -> None:
    """A second call has nothing to do; `unlabel` gives the domain its credits back."""
    before = store.read(["hotels"])
    offramp(*files, "--yes")
    corrected = store.read(["hotels"])
    again = offramp(*files).stderr
    assert "labels have nothing to correct, or have corrected it already" in again
    assert (store.read(["hotels"]), len(store.audit())) == (corrected, 1)
    taken = offramp("unlabel", "hotels", "--yes")
    assert "labelled: 600 -> none" in taken.stderr
    assert store.read(["hotels"]) == before


def test_topics_of_labels_are_applied_and_reported(
    store: RedisStore, offramp: Offramp, kafka: str
) -> None:
    """From Kafka as from files; show and explain then say in words what labels changed."""
    name = f"a{time.time_ns()}"
    create_topics(kafka, {f"{name}.predictions": 2, f"{name}.labels": 1})
    producer = KafkaProducer(bootstrap_servers=kafka)
    for body in texts():
        producer.send(f"{name}.predictions", orjson.dumps(body))
        producer.send(f"{name}.labels", f"{body['id']}\t{truth(body)}".encode())
    producer.flush()
    producer.close()
    topics = ["--topic", f"{name}.predictions", "--labels-topic", f"{name}.labels"]
    offramp("evaluate", *topics, "--apply", "--yes", kafka=kafka)
    assert store.read(["hotels"])["hotels"].labels == LABELS
    for command in (["explain", "hotels"], ["show", "hotels"]):
        said = " ".join(offramp(*command).stdout.split())
        assert "Labels of 600 texts correct what its steps are worth." in said
        assert (
            "Where exits 0 and 1 differ (300 labelled texts), the deeper exit wins 40% and loses "
            "60%. So a change of label at exit 1 saves 0.00 errors instead of 0.60." in said
        )
    shown = json.loads(offramp("show", "hotels", "-o", "json").stdout)
    assert shown["labels"] == {
        "texts": 600, "duels": [0, 300, 0], "wins": [0, 120, 0], "losses": [0, 180, 0],
    }  # fmt: skip
    assert [(e["worth"], e["credit_worth"]) for e in shown["exits"]] == [
        (None, None), (0.0, 0.6), (None, None),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("meta", "said"),
    [
        (replace(META, calibrated=False), "--apply needs a calibrated model"),
        (replace(META, settings=PolicySettings("uee-ucb")), "its algorithm, uee-ucb, does not use"),
    ],
)
def test_a_policy_without_credits_has_nothing_to_correct(
    redis_url: str, offramp: Offramp, files: list[object], meta: PolicyMeta, said: str
) -> None:
    """It is an error before anything is read or changed."""
    with RedisStore(redis_url) as opened:
        opened.open(meta)
        assert said in str(offramp(*files, "--yes", code=1).exception)


def test_options_of_a_change_want_apply(
    store: RedisStore, offramp: Offramp, files: list[object]
) -> None:
    """Without --apply nothing is changed, so who and why are wrong usage."""
    *looked, _ = files
    before = store.read(["hotels"])
    for option in (["--yes"], ["--reason", "x"], ["--by", "x"]):
        assert "has no effect without --apply" in offramp(*looked, *option, code=2).stderr
    (hotels, _) = json.loads(offramp(*looked, "-o", "json").stdout)["domains"]
    assert hotels["correction"] is None
    assert store.read(["hotels"]) == before
