"""Every option of `offramp train` and `pretrain` has its effect, as a user calls it."""

import json
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from model.calibration import read_calibration
from model.checkpoint.folder import load_model
from model.engine.engine import Engine
from model.errors import InvalidData, InvalidOptions
from model.training.data import read_inputs, read_pretraining
from model.training.pretrain import run_pretraining
from model.training.settings import PretrainRequest, Request, TrainSettings
from model.training.train import Listener, soft_labels, train
from tests.support.model_cli import offramp
from tests.support.tiny_model import tiny_config, write_tiny_model

FAST = ["--batch-size", "16", "--body-rate", "3e-3", "--head-rate", "3e-3", "--fp32"]

NEW = ["--new", "tiny", "--hidden", "32", "--heads", "2", "--positions", "24"]
NEW += ["--vocabulary", "120", "--exits", "1,2", "--fp32"]


class Crash(Exception):
    pass


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """Return a tiny model of two classes to start from."""
    config = tiny_config(labels=("negative", "positive"))
    return write_tiny_model(tmp_path_factory.mktemp("model") / "start", config=config)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Return a labelled file in which one word decides and one class is rare."""
    rows = [f"the film was {('bad', 'good')[i % 4 == 0]} !\t{int(i % 4 == 0)}" for i in range(96)]
    path = tmp_path_factory.mktemp("toy") / "train.tsv"
    path.write_text("text\tlabel\n" + "\n".join(rows) + "\n")
    return path


@pytest.fixture(scope="module")
def usual(tmp_path_factory, start, data):
    """Return the weights of a training with none of the options."""
    out = tmp_path_factory.mktemp("usual") / "out"
    offramp("train", data, "--from", start, *FAST, "--out", out)
    return (out / "model.safetensors").read_bytes()


def test_the_same_command_gives_the_same_weights(tmp_path, start, data, usual):
    """So that what an option changes is the option's doing."""
    offramp("train", data, "--from", start, *FAST, "--out", tmp_path / "out", "--seed", "0")
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == usual


@pytest.mark.parametrize(
    "options",
    [
        ["--class-weights"],
        ["--loss", "weighted"],
        ["--loss", "equilibrium"],
        ["--loss", "distilled"],
        ["--weight-decay", "0.9"],
        ["--max-tokens", "4"],
        ["--seed", "1"],
        ["--bf16"],
        ["--new-heads"],
    ],
    ids=" ".join,
)
def test_an_option_of_the_training_changes_what_is_learnt(tmp_path, start, data, usual, options):
    """Each one alone leads to other weights, and the card tells the command and the setting."""
    out = tmp_path / "out"
    offramp("train", data, "--from", start, *FAST, "--out", out, *options)
    assert (out / "model.safetensors").read_bytes() != usual
    request = json.loads((out / "metrics.json").read_text())["request"]
    name = options[0].removeprefix("--").replace("-", "_")
    value = {**request, **request["settings"]}[name]
    assert str(value) == (options[1] if len(options) > 1 else "True")


def test_a_training_that_does_not_get_better_ends(tmp_path, start, data):
    """--patience counts evaluations every --eval-every steps; --labels names the classes."""
    old = tmp_path / "old"
    old.mkdir()
    torch.save(load_file(start / "model.safetensors"), old / "pytorch_model.bin")
    for name in ("config.json", "tokenizer.json"):
        (old / name).write_bytes((start / name).read_bytes())
    out = tmp_path / "out"
    result = offramp(
        "train", data, "--from", old, "--allow-bin", "--exits", "2,4", "--labels", "no,yes",
        "--eval", data, "--eval-max-tokens", "16", "--eval-every", "2", "--patience", "2",
        "--epochs", "40", "--batch-size", "16", "--body-rate", "1e-9", "--head-rate", "1e-9",
        "--teacher", old, "--unlabelled", f"{data}=4", "--fp32", "--out", out, "-o", "json",
    )  # fmt: skip
    assert json.loads(result.stdout)["steps"] == 6  # the first is the best of three
    assert load_model(out).config.labels == ("no", "yes")
    assert load_model(out).config.exit_layers == (2, 4)
    history = json.loads((out / "metrics.json").read_text())["history"]
    assert [entry["step"] for entry in history if "eval_score" in entry] == [2, 4, 6]


def crash_at(step):
    """Return what ends a training as a crash would, after that step."""

    def stop(progress):
        if progress.step == step:
            raise Crash

    return stop


def test_a_training_is_resumed(tmp_path, start, data, usual):
    """The same command with --resume continues after a crash, to the very weights."""
    out = tmp_path / "out"
    settings = TrainSettings(
        batch_size=16, body_rate=3e-3, head_rate=3e-3, bf16=False, evaluate_every=2
    )
    request = Request(data=data, out=out, start=str(start), settings=settings)
    with pytest.raises(Crash):
        train(request, read_inputs(request), command=[], listener=Listener(progress=crash_at(5)))
    assert not (out / "model.safetensors").exists()
    command = ["train", data, "--from", start, *FAST, "--out", out, "--eval-every", "2"]
    offramp(*command, "--resume")
    assert (out / "model.safetensors").read_bytes() == usual
    history = json.loads((out / "metrics.json").read_text())["history"]
    assert history[-1]["step"] == 6


def test_a_pretraining_starts_from_an_encoder(tmp_path, start, data):
    """At a rate of nothing the encoder of --from comes out; --exits change what is learnt."""
    common = [
        "pretrain",
        data,
        "--from",
        start,
        "--batch-size",
        "16",
        "--max-tokens",
        "12",
        "--fp32",
    ]

    def layers(name, *options):
        offramp(*common, *options, "--out", tmp_path / name)
        found = load_file(tmp_path / name / "model.safetensors")
        return {name: value for name, value in found.items() if ".layer." in name}

    still = layers("still", "--rate", "1e-12")
    before = load_file(start / "model.safetensors")
    assert len(still) > 4
    for name, value in still.items():
        assert torch.equal(value, before[f"elastic{name}"]), name
    last = layers("last", "--rate", "1e-2")
    several = layers("several", "--rate", "1e-2", "--exits", "1,3,4")
    assert not any(torch.equal(last[name], still[name]) for name in last)
    assert not all(torch.equal(last[name], several[name]) for name in last)


def test_a_pretraining_is_resumed(tmp_path, start, data):
    """The same command with --resume continues from the last checkpoint."""
    settings = TrainSettings(
        batch_size=16, body_rate=1e-2, head_rate=1e-2, seed=3, bf16=False, evaluate_every=2
    )
    out = tmp_path / "out"
    request = PretrainRequest(texts=data, out=out, start=str(start), settings=settings)
    with pytest.raises(Crash):
        run_pretraining(request, read_pretraining(request), on_progress=crash_at(5))
    command = [
        "pretrain", data, "--from", start, "--rate", "1e-2", "--checkpoint-every", "2",
        "--batch-size", "16", "--seed", "3", "--fp32", "--out", out, "-o", "json",
    ]  # fmt: skip
    with pytest.raises(InvalidOptions, match="is not empty"):
        offramp(*command)
    assert json.loads(offramp(*command, "--resume").stdout)["steps"] == 6
    assert (out / "model.safetensors").exists()
    assert not (out / "checkpoints").exists()


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
