"""Every option of `offramp train` and `pretrain` has its effect, as a user calls it."""

import json

import pytest
import torch
from safetensors.torch import load_file

from model.checkpoint.folder import load_model
from model.errors import InvalidOptions
from model.training.data import read_inputs, read_pretraining
from model.training.pretrain import run_pretraining
from model.training.settings import PretrainRequest, Request, TrainSettings
from model.training.train import Listener, train
from tests.support.model_cli import offramp
from tests.support.tiny_model import tiny_config, write_tiny_model

FAST = ["--batch-size", "16", "--body-rate", "3e-3", "--head-rate", "3e-3", "--fp32"]


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
