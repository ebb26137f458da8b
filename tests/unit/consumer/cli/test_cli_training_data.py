"""What a training makes of its files: classes, and parts that are held out."""

import json
from typing import Any

import pytest
import torch

from model.calibration import read_calibration
from model.checkpoint.folder import load_model
from model.engine.engine import Engine
from model.errors import InvalidData
from model.training.train import soft_labels
from tests.support.model_cli import offramp
from tests.support.tiny_model import tiny_config, write_tiny_model

NEW = ["--new", "tiny", "--hidden", "32", "--heads", "2", "--positions", "24"]
NEW += ["--vocabulary", "120", "--exits", "1,2", "--fp32"]


def toy(path, header, rows):
    """Write a table of texts in which one word decides, and return its path."""
    mark = {".csv": ",", ".tsv": "\t"}[path.suffix]
    lines = [header, *rows]
    path.write_text("".join(mark.join(map(str, line)) + "\n" for line in lines))
    return path


def words(count, labels):
    """Return rows of a text of its own and its label."""
    kinds = ("bad", "good", "very", "not")
    return [
        (f"the {kinds[i % len(labels)]} film {i}", labels[i % len(labels)]) for i in range(count)
    ]


def test_labels_that_are_words_make_a_model_with_their_names(tmp_path):
    """Of any column, in the order of the alphabet, as the card and config.json say."""
    data = toy(tmp_path / "a.csv", ("review", "sentiment"), words(40, ("ugly", "fine")))
    out = tmp_path / "out"
    columns = ["--text-column", "review", "--label-column", "sentiment"]
    offramp("train", data, *NEW, *columns, "--eval", data, "--out", out)
    assert load_model(out).config.labels == ("fine", "ugly")
    card = (out / "README.md").read_text()
    assert "- Classes, in the order of the alphabet: 0 = fine, 1 = ugly" in card
    result = offramp("model", "predict", data, "--model", out, *columns)
    truth = [line.split("\t")[-1] for line in result.stdout.splitlines()]
    assert truth == ["op_labels", *(["1", "0"] * 20)]


def test_labels_that_begin_anywhere_make_no_class_too_many(tmp_path):
    """1 to 4 are four classes, called so; one of 3,000,000,000 is one class more."""
    data = toy(tmp_path / "a.tsv", ("text", "label"), words(40, (4, 1, 3, 2)))
    offramp("train", data, *NEW, "--out", tmp_path / "out")
    assert load_model(tmp_path / "out").config.labels == ("1", "2", "3", "4")
    data = toy(tmp_path / "b.tsv", ("text", "label"), words(40, (0, 3_000_000_000)))
    offramp("train", data, *NEW, "--out", tmp_path / "large")
    assert load_model(tmp_path / "large").config.labels == ("0", "3000000000")


def test_an_evaluation_has_the_classes_of_the_training(tmp_path):
    """By name, in whatever order its file has them; one that is not known is an error."""
    data = toy(tmp_path / "a.tsv", ("text", "label"), words(40, (4, 1, 3, 2)))
    named = toy(tmp_path / "named.tsv", ("text", "label"), words(4, ("d", "a", "c", "b")))
    options = ["--labels", "a, b,c,d", "--out", tmp_path / "out"]
    offramp("train", data, *NEW, *options, "--eval", data, "--eval", named)
    reports = json.loads((tmp_path / "out" / "metrics.json").read_text())["reports"]
    assert [report["texts"] for report in reports.values()] == [40, 4]
    assert "0 = a (1 in the file)" in (tmp_path / "out" / "README.md").read_text()
    strange = toy(tmp_path / "strange.tsv", ("text", "label"), words(4, ("a", "e")))
    with pytest.raises(InvalidData, match=r"strange\.tsv:3: label is 'e', .* classes 0 = a \(1"):
        offramp(
            "train", data, *NEW, "--labels", "a,b,c,d", "--eval", strange, "--out", tmp_path / "x"
        )


def test_one_class_is_refused(tmp_path):
    """A model that can say one thing only is no classifier."""
    data = toy(tmp_path / "a.tsv", ("text", "label"), words(9, ("good",)))
    with pytest.raises(InvalidData, match="every label is 'good'; a classifier needs texts of two"):
        offramp("train", data, *NEW, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_without_an_evaluation_file_a_part_is_held_out(tmp_path):
    """A tenth of each class, not trained on, measured and said in the card; 0 holds out none."""
    data = toy(tmp_path / "a.tsv", ("text", "label"), words(40, ("bad", "good")))
    out = tmp_path / "out"
    offramp("train", data, *NEW, "--out", out)
    reports = json.loads((out / "metrics.json").read_text())["reports"]
    ((name, report),) = reports.items()
    assert (name, report["texts"]) == (f"{tmp_path.name}/a held out", 4)
    card = (out / "README.md").read_text()
    assert "36 labelled texts of" in card
    assert (
        "- Measured on, but not trained on: 4 other texts of the file, chosen at random from every"
        in card
    )
    offramp("train", data, *NEW, "--out", tmp_path / "all", "--hold-out", "0")
    card = (tmp_path / "all" / "README.md").read_text()
    assert "40 labelled texts of" in card
    assert "Not measured: there is no `--eval` file, and no text was held out." in card


def test_a_part_of_many_texts_is_held_out_to_calibrate_on(tmp_path):
    """Of 2,000 texts 210, not trained on; the model is calibrated, and its card has the table."""
    data = toy(tmp_path / "a.tsv", ("text", "label"), words(2000, ("bad", "good")))
    out = tmp_path / "out"
    result = offramp("train", data, *NEW, "--out", out, "-o", "json")
    found = json.loads(result.stdout)["calibration"]
    assert found["texts"] == 210
    assert "no calibration" not in result.stderr
    calibration = read_calibration(out, exits=2)
    assert calibration is not None
    assert list(calibration.temperatures) == found["temperatures"]
    card = (out / "README.md").read_text()
    assert "1,590 labelled texts of" in card  # 200 are measured on
    assert "Made from 210 texts of the file of the training, held out from it." in card
    assert f"| temperature | {found['temperatures'][0]:g} | {found['temperatures'][1]:g} |" in card
    assert Engine(out, device="cpu").calibrated


def test_few_texts_are_all_trained_on(tmp_path):
    """Then there is no calibration: output and card say so, and the command that makes one."""
    data = toy(tmp_path / "a.tsv", ("text", "label"), words(1999, ("bad", "good")))
    out = tmp_path / "out"
    result = offramp("train", data, *NEW, "--hold-out", "0", "--out", out, "-o", "json")
    assert json.loads(result.stdout)["calibration"] is None
    assert f"{out} has no calibration" in result.stderr
    assert f"offramp model calibrate {out} FILE" in result.stderr
    assert not (out / "calibration.json").exists()
    card = (out / "README.md").read_text()
    assert "1,999 labelled texts of" in card
    assert "`offramp model calibrate` makes a calibration" in card


def test_another_file_may_be_calibrated_on(tmp_path):
    """Then nothing is held out; a file that is too small is refused before the training begins."""
    data = toy(tmp_path / "a.tsv", ("text", "label"), words(2000, ("bad", "good")))
    other = toy(tmp_path / "dev.csv", ("text", "label"), words(220, ("good", "bad")))
    command = ["train", data, *NEW, "--hold-out", "0", "--calibrate", other, "--out"]
    offramp(*command, tmp_path / "out")
    calibration = read_calibration(tmp_path / "out", exits=2)
    assert calibration is not None
    assert calibration.texts == 220
    card = (tmp_path / "out" / "README.md").read_text()
    assert "2,000 labelled texts of" in card
    assert f"Made from 220 texts of {tmp_path.name}/dev." in card
    toy(other, ("text", "label"), words(199, ("good", "bad")))
    with pytest.raises(InvalidData, match=r"--calibrate .*dev\.csv: 199 labelled texts"):
        offramp(*command, tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_teacher_with_the_same_labels_in_another_order_is_understood(tmp_path):
    """Its probabilities go to the classes of these names, or the student learns the opposite."""
    texts = ["the film was good", "not bad at all"]
    teacher = write_tiny_model(tmp_path / "t", config=tiny_config(labels=("yes", "no", "maybe")))
    common: dict[str, Any] = {"exits": None, "max_tokens": 16, "bf16": False}
    same = soft_labels(teacher, texts, labels=("yes", "no", "maybe"), **common)
    turned = soft_labels(teacher, texts, labels=("maybe", "no", "yes"), **common)
    assert torch.equal(turned, same[:, [2, 1, 0]])
    assert torch.equal(soft_labels(teacher, texts, labels=("a", "b", "c"), **common), same)
