"""`offramp model export --store int8` and `trim`, as a user calls them, at tiny sizes."""

import json
import random

import pytest

from consumer.cli.model.rewrite import MEASURED
from model.calibration import read_calibration
from model.checkpoint.folder import fingerprint, load_model
from model.checkpoint.tokenizer import load_tokenizer
from model.errors import InvalidOptions, ModelError
from tests.support.model_cli import offramp
from tests.support.tiny_model import WORDS, tiny_config, write_tiny_model


@pytest.fixture
def model(tmp_path):
    """A tiny model of two classes."""
    return write_tiny_model(tmp_path / "model", config=tiny_config(labels=("negative", "positive")))


@pytest.fixture
def labelled(tmp_path):
    """A file of 400 random texts with labels by chance."""
    chance = random.Random(0)
    rows = [
        f"{' '.join(chance.choices(WORDS[:9], k=chance.randrange(1, 9)))}\t{chance.randrange(2)}"
        for _ in range(400)
    ]
    path = tmp_path / "toy" / "dev.tsv"
    path.parent.mkdir()
    path.write_text("text\tlabel\n" + "\n".join(rows) + "\n")
    return path


def matrix(model, texts, *options):
    return offramp("model", "predict", texts, "-m", model, *options).stdout.splitlines()


def accuracies(lines):
    rows = [line.split("\t") for line in lines[1:]]
    return [sum(row[i] == row[-1] for row in rows) / len(rows) for i in range(len(rows[0]) - 1)]


def test_a_model_in_8_bits_is_half_as_large_and_its_loss_is_told(tmp_path, model, labelled):
    """The command counts what `predict` shows for both folders; calibration and card come along."""
    offramp("model", "calibrate", model, labelled)
    (model / "README.md").write_text("# A card\n\nAbout the model.\n")
    (model / "costs.json").write_text("{}")
    out = tmp_path / "small"
    result = offramp(
        "model", "export", model, "--out", out, "--store", "int8", "--eval", labelled, "-o", "json",
    )  # fmt: skip
    found = json.loads(result.stdout)
    before, after = matrix(model, labelled), matrix(out, labelled)
    pairs = [(a.split("\t"), b.split("\t")) for a, b in zip(before[1:], after[1:], strict=True)]
    (effect,) = found["effects"]
    assert effect["name"] == "toy/dev"
    assert effect["differ"] == [sum(a[i] != b[i] for a, b in pairs) for i in range(3)]
    assert effect["accuracy_before"] == pytest.approx(accuracies(before))
    assert effect["accuracy"] == pytest.approx(accuracies(after))
    assert effect["retokenised"] == 0
    sizes = [(folder / "model.safetensors").stat().st_size for folder in (model, out)]
    assert sizes[1] < 0.7 * sizes[0]  # tiny rows have large scales, and a long header
    assert found["fingerprint_before"] == fingerprint(model) != fingerprint(out)
    assert found["fingerprint"] == fingerprint(out)
    assert 0.001 < found["errors"]["mean"] < found["errors"]["largest"] < 0.02
    assert read_calibration(out, exits=3) == read_calibration(model, exits=3)
    card = (out / "README.md").read_text()
    assert card.startswith("# A card\n\nAbout the model.\n\n## Stored as int8\n\nThe matrices")
    assert f"| toy/dev (400) | labels that differ | {effect['differ'][0]} |" in card
    assert f"make it anew: {MEASURED['costs.json']} {out} FILE" in result.stderr
    assert f"can be made anew: offramp model calibrate {out} FILE" in result.stderr
    assert not (out / "costs.json").exists()


def test_every_command_opens_a_model_in_8_bits(tmp_path, model, labelled):
    """Check, calibrate, the precision int8, bench, training, and the way back to fp16."""
    out = tmp_path / "small"
    result = offramp("model", "export", model, "--out", out, "--store", "int8")
    assert "row error" in result.stdout
    checked = offramp("model", "check", out).stdout
    assert "stored in 8 bits" in " ".join(checked.split())
    offramp("model", "int8", out, labelled)
    offramp("model", "calibrate", out, labelled)
    offramp("model", "bench", out, "--texts", "4", "--tokens", "7", "--repeat", "1")
    fast = ["--epochs", "1", "--hold-out", "0", "--exits", "1,2,4", "--max-tokens", "16"]
    offramp("train", labelled, "--from", out, *fast, "--out", tmp_path / "t")
    offramp("model", "export", out, "--out", tmp_path / "back")
    assert "## Stored as fp16" in (tmp_path / "back" / "README.md").read_text()
    assert matrix(out, labelled) == matrix(tmp_path / "back", labelled)


def test_a_trimmed_model_is_smaller_and_its_loss_is_told(tmp_path, model, labelled):
    """Texts that use pieces that went have other tokens, and maybe other labels."""
    chosen = tmp_path / "texts.txt"
    chosen.write_text("good film\nbad room !\nzebra\n")
    out = tmp_path / "small"
    result = offramp(
        "model", "trim", model, chosen, "--out", out, "--min-count", "1", "--eval", labelled,
        "--eval", chosen, "-o", "json",
    )  # fmt: skip
    found = json.loads(result.stdout)
    assert found["pieces before"] - found["pieces"] == 5
    assert (found["texts"], found["texts with other tokens"]) == (3, 0)
    toy, same = found["effects"]
    lines = labelled.read_text().splitlines()[1:]
    gone = {"service", "the", "was", "not", "very"}
    assert toy["retokenised"] == sum(bool(gone & set(line.split())) for line in lines)
    assert (same["retokenised"], same["differ"], same["accuracy"]) == (0, [0, 0, 0], None)
    assert toy["accuracy"] == pytest.approx(accuracies(matrix(out, labelled)))
    assert toy["differ"] != [0, 0, 0]
    assert fingerprint(out) != fingerprint(model)
    assert load_tokenizer(out).get_vocab_size() == load_model(out).config.vocab_size
    assert offramp("model", "check", out).exit_code == 0
    assert "## Trimmed vocabulary\n\n5 word pieces of 69 went" in (out / "README.md").read_text()
    table = offramp("model", "trim", model, labelled, "--out", tmp_path / "other").stdout
    assert "pieces before" in table


def test_nothing_is_overwritten_and_nothing_is_half_done(tmp_path, model, labelled):
    """A folder that is not empty, a file that is missing: refused before anything is written."""
    for command in (["export", model], ["trim", model, labelled]):
        with pytest.raises(InvalidOptions, match="is not empty; name another folder"):
            offramp("model", *command, "--out", model)
        with pytest.raises(ModelError, match=r"none\.tsv: cannot be read"):
            offramp("model", *command, "--out", tmp_path / "new", "--eval", tmp_path / "none.tsv")
        assert not (tmp_path / "new").exists()
    result = offramp("model", "export", model, "--out", tmp_path / "n", "--store", "int4", code=2)
    assert "'int4'" in result.stderr


def test_the_help_has_examples():
    """Of both commands, with the options that matter."""
    assert "--store int8 --eval" in " ".join(offramp("model", "export", "--help").stdout.split())
    assert "--min-count 1" in " ".join(offramp("model", "trim", "--help").stdout.split())
