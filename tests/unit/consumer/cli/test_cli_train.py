"""`offramp train` and `pretrain`, as a user calls them, at tiny sizes."""

import json

import pytest

from model.checkpoint.folder import load_model
from model.errors import InvalidOptions, ModelError, TrainingFailed
from policy_state.errors import InvalidInput
from tests.support.model_cli import offramp
from tests.support.tiny_model import tiny_config, write_tiny_model

SIZES = ["--layers", "2", "--hidden", "32", "--heads", "2", "--positions", "24"]


FAST = ["--epochs", "3", "--batch-size", "16", "--body-rate", "3e-3", "--head-rate", "3e-3"]


def test_train_from_nothing(tmp_path, data):
    """A new model is trained, measured and written with card, curves and metrics; JSON only."""
    out = tmp_path / "out"
    result = offramp(
        "train", data, "--new", "tiny", *SIZES, "--vocabulary", "120", "--exits", "1,2",
        *FAST, "--epochs", "12", "--eval", data, "--out", out, "--fp32", "-o", "json",
    )  # fmt: skip
    report = json.loads(result.stdout)["reports"]["toy/train"]
    assert report["accuracy"] == [1, 1]
    assert load_model(out).config.exit_layers == (1, 2)
    card = (out / "README.md").read_text()
    assert "96 labelled texts of toy/train" in card
    assert "| toy/train (96) | accuracy % | 100.0 | 100.0 |" in card
    assert (out / "curves.png").read_bytes().startswith(b"\x89PNG")
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["reports"]["toy/train"] == report
    assert not (out / "checkpoints").exists()


def test_train_from_a_folder_with_a_teacher(tmp_path, data):
    """A checkpoint is fine-tuned on labels and on a teacher's answers to unlabelled sentences."""
    teacher = write_tiny_model(
        tmp_path / "teacher", config=tiny_config(labels=("negative", "positive"))
    )
    texts = tmp_path / "texts.txt"
    texts.write_text("The room was good. The service was very bad! No.\nNot good, not bad.\n")
    result = offramp(
        "train", data, "--from", teacher, "--exits", "2,4", *FAST, "--teacher", teacher,
        "--teacher-exits", "1,2", "--unlabelled", f"{texts}=2", "--out", tmp_path / "out",
    )  # fmt: skip
    assert "2 texts" in result.stderr
    card = (tmp_path / "out" / "README.md").read_text()
    assert "2 sentences of" in card
    assert "labelled by the teacher" in card


def test_pretrain_then_train(tmp_path, data):
    """What `pretrain` writes, `train --from` starts from."""
    offramp(
        "pretrain", data, "--new", "tiny", *SIZES, "--vocabulary", "120", "--epochs", "1",
        "--out", tmp_path / "encoder",
    )  # fmt: skip
    offramp("train", data, "--from", tmp_path / "encoder", *FAST, "--out", tmp_path / "out")
    assert load_model(tmp_path / "out").config.exit_layers == (1, 2)


def test_out_folder_is_not_overwritten(tmp_path, data):
    """A folder with something in it is refused; a resume of another command too."""
    model = write_tiny_model(tmp_path / "model")
    with pytest.raises(InvalidOptions, match="is not empty"):
        offramp("train", data, "--from", model, "--out", model)
    with pytest.raises(TrainingFailed, match="no training to resume"):
        offramp("train", data, "--from", model, "--out", tmp_path / "new", "--resume")
    with pytest.raises(ModelError, match="3 classes, expected 2"):
        offramp("train", data, "--from", model, "--out", tmp_path / "new")
    with pytest.raises(InvalidOptions, match="another value of loss"):
        offramp(
            "train", data, "--from", model, "--out", tmp_path / "new", "--resume",
            "--loss", "weighted",
        )  # fmt: skip
    offramp("train", data, "--from", model, "--out", tmp_path / "new", *FAST, "--new-heads")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "give either --from FOLDER|HUB_ID or --new SIZE"),
        (["--from", "a/b", "--new", "tiny"], "give either --from"),
        (["--new", "huge"], "--new huge: expected one of tiny, mini, small, medium, base"),
        (["--new", "tiny", "--exits", "1,x"], "--exits 1,x: expected whole numbers"),
        (["--new", "tiny", "--exits", "9" * 5000], "9: expected whole numbers"),
        (["--new", "tiny", "--unlabelled", "a.txt=" + "9" * 5000], "9: expected FILE or FILE=SENT"),
        (["--new", "tiny", "--teacher", "t"], "give both or neither"),
        (["--new", "tiny", "--patience", "2"], "nothing to evaluate on"),
        (["--from", "absent"], "absent: is neither a folder nor a hub id"),
    ],
)
def test_train_refusals(tmp_path, data, options, message):
    """Options that cannot be followed are refused with one line that names them."""
    with pytest.raises((ModelError, InvalidInput)) as caught:
        offramp("train", data, "--out", tmp_path / "out", *options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_loss_that_does_not_exist_is_refused_with_those_that_do(tmp_path, data):
    """As a wrong value of any option with a few values is."""
    result = offramp("train", data, "--new", "tiny", "--loss", "best", "--out", tmp_path, code=2)
    assert "'best', expected one of 'sum', 'equilibrium'" in " ".join(result.stderr.split())
