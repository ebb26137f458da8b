"""`offramp policy evaluate` on a real Kafka and a real Redis: learnt exits against later labels."""

import csv
import io
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import pytest
from kafka import KafkaProducer
from typer.testing import CliRunner, Result

from consumer.cli.app import app
from policy_state.stats import ExitStats
from policy_state.store.admin import Pin
from policy_state.store.redis.store import RedisStore
from policy_state.store.values import PartitionDeltas, PolicyMeta
from tests.support.tiny_model import tiny_config, write_tiny_model
from tests.support.topics import create_topics

META = PolicyMeta("default", "f1", (1, 6, 12))
Offramp = Callable[..., Result]


def predictions() -> list[bytes]:
    """Return predictions of two domains: exit 0 errs on a third of the hotels, on no books."""
    found = []
    for number in range(90):
        right = number % 2
        hotels = [1 - right if number % 3 == 0 else right, right, right]
        for domain, labels in (("hotels", hotels), ("books", [right] * 3)):
            body = {
                "id": f"{domain}-{number}",
                "domain": domain,
                "label": labels[-1],
                "label_name": ("negative", "positive")[labels[-1]],
                "exit_labels": labels if number < 60 else labels[:1],
                "model": "f1",
            }
            if number >= 60:
                body |= {"label": labels[0], "label_name": ("negative", "positive")[labels[0]]}
            found.append(orjson.dumps(body))
    return found


def labels(domain: str) -> list[tuple[str, str]]:
    """Return id and name of the label of all texts of a domain."""
    return [(f"{domain}-{n}", ("negative", "positive")[n % 2]) for n in range(90)]


@pytest.fixture
def store(redis_url: str) -> Iterator[RedisStore]:
    """Yield a store where hotels are settled at exit 1 and books at exit 0."""
    with RedisStore(redis_url) as opened:
        opened.open(META)
        hotels = ExitStats.from_texts([(0, 1, 1), (1, 1, 1), (1, 1, 1)] * 300, exits=3)
        books = ExitStats.from_texts([(0, 0, 0), (1, 1, 1)] * 400, exits=3)
        opened.apply([PartitionDeltas("t", 0, 0, 1700, {"hotels": hotels, "books": books})])
        yield opened


@pytest.fixture
def offramp(redis_url: str) -> Offramp:
    """Return a function that runs `offramp policy evaluate`."""

    def run(*args: object, kafka: str = "localhost:1", code: int = 0) -> Result:
        environ = {
            "OFFRAMP_REDIS__URL": redis_url,
            "OFFRAMP_KAFKA__BOOTSTRAP_SERVERS": kafka,
            "COLUMNS": "250",
        }
        words = ["policy", "evaluate", *map(str, args)]
        result = CliRunner().invoke(app, words, env=environ)
        assert result.exit_code == code, (result.output, result.exception)
        return result

    return run


@pytest.fixture
def files(tmp_path: Path) -> list[object]:
    """Return the options for files of predictions and of labels."""
    predicted, labelled = tmp_path / "predictions.jsonl", tmp_path / "labels.tsv"
    predicted.write_bytes(b"\n".join(predictions()))
    pairs = [*labels("hotels"), *labels("books")[:40], ("elsewhere", "positive")]
    labelled.write_text("id\tlabel\n" + "".join(f"{id_}\t{label}\n" for id_, label in pairs))
    return ["--labels", labelled, "--predictions", predicted]


def test_files_tell_true_errors_and_the_exit_by_labels(
    store: RedisStore, offramp: Offramp, files: list[object]
) -> None:
    """Per domain and exit, from files alone, as table, JSON and CSV; nothing is changed."""
    before = store.read(["hotels", "books"])
    result = offramp(*files, "-o", "json")
    said = json.loads(result.stdout)
    hotels, books = said["domains"]
    assert (said["version"], said["kind"], said["policy"]) == (1, "policy-evaluate", "default")
    assert (said["labels"], said["unlabelled_predictions"]) == (131, 50)
    assert (hotels["domain"], hotels["served"]["texts"]) == ("hotels", 90)
    assert [e["error"]["share"] for e in hotels["exits"]] == [pytest.approx(1 / 3), 0, 0]
    assert [e["error"]["texts"] for e in hotels["exits"]] == [90, 60, 60]
    assert hotels["served"]["share"] == pytest.approx(10 / 90)
    assert (hotels["exit"], hotels["exit_by_labels"], hotels["agrees"]) == (1, 1, True)
    assert (books["exit"], books["exit_by_labels"], books["served"]["texts"]) == (0, 0, 40)
    table = offramp(*files).stdout
    assert "1, the same" in table
    assert "33.3% 0.0% 0.0%" in table
    rows = list(csv.DictReader(io.StringIO(offramp(*files, "-o", "csv").stdout)))
    assert [(row["domain"], row["agrees"]) for row in rows] == [
        ("hotels", "True"),
        ("books", "True"),
    ]
    assert store.read(["hotels", "books"]) == before


def test_a_pinned_exit_is_judged_as_it_is_served(
    store: RedisStore, offramp: Offramp, files: list[object]
) -> None:
    """What an operator pinned is held against labels, and what that loses is told."""
    store.change("hotels", Pin(0), by="anna", reason="a try")
    hotels = json.loads(offramp(*files, "-o", "json").stdout)["domains"][0]
    assert (hotels["exit"], hotels["pinned"], hotels["exit_by_labels"]) == (0, True, 1)
    assert (hotels["agrees"], hotels["clear"]) == (False, True)
    assert hotels["lost_reward"]["value"] == pytest.approx(1 / 3 - 0.1 * 5 / 12)
    assert "1, clearly" in offramp(*files).stdout


def test_topics_are_read_to_their_ends(store: RedisStore, offramp: Offramp, kafka: str) -> None:
    """Committed records of several partitions and topics say what files say."""
    name = f"e{time.time_ns()}"
    create_topics(kafka, {f"{name}.a": 2, f"{name}.b": 1, f"{name}.labels": 2})
    producer = KafkaProducer(bootstrap_servers=kafka, transactional_id=name, retry_backoff_ms=5)
    producer.init_transactions()
    for keep in (False, True):
        producer.begin_transaction()
        for value in predictions():
            producer.send(f"{name}.{'a' if b'hotels' in value else 'b'}", value)
        for id_, label in labels("hotels"):
            value = orjson.dumps({"id": id_, "label": label if keep else "aborted"})
            producer.send(f"{name}.labels", value, key=id_.encode())
        producer.send(f"{name}.labels", None, key=b"gone")
        producer.send(f"{name}.labels", b"books-1\tposotive")
        if keep:
            producer.commit_transaction()
        else:
            producer.abort_transaction()
    producer.close()
    topics = ["--topic", f"{name}.a", "--topic", f"{name}.b"]
    result = offramp(*topics, "--labels-topic", f"{name}.labels", "-o", "json", kafka=kafka)
    said = json.loads(result.stdout)
    (hotels,) = said["domains"]
    assert [e["error"]["texts"] for e in hotels["exits"]] == [90, 60, 60]
    assert (hotels["exit_by_labels"], hotels["served"]["share"]) == (1, pytest.approx(10 / 90))
    assert (said["skipped_labels"], said["skipped_predictions"]) == (1, 0)
    assert said["unknown_labels"] == {"posotive": 1}
    assert "posotive" in result.stderr
    absent = offramp("--labels-topic", "absent", *topics, kafka=kafka, code=1)
    assert "topic absent does not exist" in str(absent.exception)


def test_one_source_of_each_is_asked_for(store: RedisStore, offramp: Offramp) -> None:
    """Without labels or predictions, or with two sources, it is wrong usage."""
    assert "--labels-topic" in offramp("--topic", "t", code=2).stderr
    assert "--predictions" in offramp("--labels", "x", code=2).stderr
    offramp("--labels", "x", "--labels-topic", "y", "--topic", "t", code=2)


def test_no_labels_of_this_model_is_said(
    store: RedisStore, offramp: Offramp, tmp_path: Path
) -> None:
    """Nothing to judge ends well, with a line that says so."""
    (tmp_path / "labels.tsv").write_text("id\tlabel\nnobody\t1\n")
    (tmp_path / "predictions").write_bytes(predictions()[0])
    files = ["--labels", tmp_path / "labels.tsv", "--predictions", tmp_path / "predictions"]
    assert "no prediction of this policy's model has a label" in offramp(*files).stderr


def test_labels_that_the_model_does_not_know_are_an_error(
    store: RedisStore, offramp: Offramp, files: list[object], tmp_path: Path
) -> None:
    """Classes counted from 1 are told with those that there are, rather than judged as wrong."""
    counted = tmp_path / "counted.csv"
    counted.write_text("key,truth\n" + "".join(f"hotels-{n},{1 + n % 2}\n" for n in range(40)))
    options = ["--labels", counted, "--id-column", "key", "--label-column", "truth", *files[2:]]
    said = str(offramp(*options, code=1).exception)
    assert "counted.csv: label 2 (id hotels-1) is no class of the model" in said
    assert "it has 0 = negative, 1 = positive; --model FOLDER names classes" in said
    counted.write_text("key,truth\n" + "".join(f"hotels-{n},{n % 2}\n" for n in range(40)))
    (hotels,) = json.loads(offramp(*options, "-o", "json").stdout)["domains"]
    assert hotels["served"]["texts"] == 40
    said = str(offramp(*options[:2], *files[2:], code=1).exception)
    assert "counted.csv:1: no column id; the columns are key, truth; name one" in said


def test_a_model_names_classes_that_no_prediction_has(
    store: RedisStore, offramp: Offramp, files: list[object], tmp_path: Path
) -> None:
    """Its texts then count as wrong; a model with other names is refused."""
    labelled = tmp_path / "rare.jsonl"
    labelled.write_text('{"id": "hotels-1", "label": "rare"}\n{"id": "hotels-2", "label": 0}\n')
    options = ["--labels", labelled, *files[2:]]
    assert "label rare (id hotels-1)" in str(offramp(*options, code=1).exception)
    names = ("negative", "positive", "rare")
    model = write_tiny_model(tmp_path / "model", config=tiny_config(labels=names))
    (hotels,) = json.loads(offramp(*options, "--model", model, "-o", "json").stdout)["domains"]
    assert hotels["served"] | {"low": 0, "high": 0} == {
        "texts": 2, "share": 0.5, "low": 0, "high": 0,
    }  # fmt: skip
    other = write_tiny_model(tmp_path / "other", config=tiny_config(labels=("no", "yes")))
    said = str(offramp(*options, "--model", other, code=1).exception)
    assert "is 'negative' in the predictions, but the model has the classes 0 = no" in said
