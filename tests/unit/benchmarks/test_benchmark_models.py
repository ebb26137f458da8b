"""`benchmarks.models`: the table and the matrices it makes, on tiny models and data."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from benchmarks import models
from model.calibration import Calibration, write_calibration
from policy_state.simulation.matrix import read_matrix
from tests.support.tiny_model import tiny_config, write_tiny_model


def run(arguments):
    """Run the benchmark with a command line."""
    models.main([str(argument) for argument in arguments])


@pytest.fixture
def data(tmp_path):
    """Two domains of two classes, one of four, and a folder that is no domain."""
    for name, split, classes, count in (
        ("sst2", "train", 2, 30), ("sst2", "dev", 2, 8), ("hotels", "train", 2, 6),
        ("hotels", "test", 2, 6), ("agnews", "test", 4, 8),
    ):  # fmt: skip
        folder = tmp_path / "data" / name
        folder.mkdir(parents=True, exist_ok=True)
        rows = "".join(f"good room {i}\t{i % classes}\n" for i in range(count))
        (folder / f"{split}.tsv").write_text("text\tlabel\n" + rows)
    (tmp_path / "data" / "vocab").mkdir()
    return tmp_path / "data"


def test_tables_and_matrices(tmp_path, data):
    """Each model meets the domains with its classes, held-out texts only, capped as asked."""
    two = tiny_config(labels=("negative", "positive"))
    four = tiny_config(labels=("a", "b", "c", "d"))
    folders = [
        write_tiny_model(tmp_path / "binary", config=two),
        write_tiny_model(tmp_path / "news", config=four),
    ]
    arguments = ["--data", data, "--models", *folders, "--max-texts", "10", "--max-tokens", "16"]
    arguments += ["--matrices", tmp_path / "matrices", "--out", tmp_path / "results"]
    run(arguments)
    content = json.loads((tmp_path / "results" / "models.json").read_text())
    accuracy, _, _, news, *_ = content["tables"]
    assert {row[0]: row[1] for row in accuracy["rows"]} == {"hotels": 10, "sst2": 8}
    assert [row[0] for row in news["rows"]] == ["agnews"]
    table = (tmp_path / "results" / "models.md").read_text()
    assert "hotels 10 of 12" in table
    assert str(tmp_path) not in table
    matrices = sorted((tmp_path / "matrices").rglob("*.tsv"))
    assert [path.name for path in matrices] == [
        "hotels-fp32-16-10.tsv", "sst2-fp32-16-8.tsv", "agnews-fp32-16-8.tsv",
    ]  # fmt: skip
    matrices[0].write_text("0\t1\t2\top_labels\n" + "1\t1\t1\t1\n" * 10)
    run(arguments)
    content = json.loads((tmp_path / "results" / "models.json").read_text())
    differs = {row[0]: row[1:4] for row in content["tables"][2]["rows"]}
    assert differs["hotels"] == ["0.0", "0.0", "0.0"], "a matrix that is there is not made again"


def test_a_calibrated_model_has_credits_and_scores(tmp_path, data):
    """Both are in its matrices, the worth of its steps beside them, of the files asked for only."""
    folder = write_tiny_model(tmp_path / "binary", config=tiny_config(labels=("bad", "good")))
    worth = (0.25, 0.5)
    write_calibration(folder, Calibration((1.0,) * 3, worth, 500, (9, 9), (0.1,) * 3, (0.0,) * 3))
    arguments = ["--data", data, "--models", folder, "--max-tokens", "16", "--held-out"]
    run([*arguments, "sst2=train", "agnews=test", "--matrices", tmp_path])
    (facts,) = tmp_path.rglob("model.json")
    assert json.loads(facts.read_text())["worth"] == list(worth)
    matrix = read_matrix(facts.parent / "sst2-fp32-16-30.tsv")
    assert matrix.credits is not None
    assert matrix.scores is not None
    differs = matrix.labels[:, 1:] != matrix.labels[:, :-1]
    assert (matrix.credits[:, 1:][differs] >= np.array([[125, 250]]).repeat(30, 0)[differs]).all()
    assert not matrix.credits[:, 1:][~differs].any()
    assert (matrix.scores >= 500).all()


def test_the_docs_tell_what_was_measured() -> None:
    """The accuracies that docs/models.md repeats are those of the results, to the digit."""
    repository = Path(__file__).parents[3]
    docs = (repository / "docs" / "models.md").read_text(encoding="utf-8")
    results = (repository / "benchmarks" / "results" / "models.md").read_text(encoding="utf-8")
    (said,) = re.findall(r"four exits of the first are right on (.*) % of the texts", docs)
    table = results[results.index("## sst2-4exits") :]
    row = next(line for line in table.splitlines() if line.startswith("| sst2 |"))
    assert re.findall(r"\d+\.\d", said) == re.findall(r"\d+\.\d", row)
