"""`offramp model`, as a user calls it, at tiny sizes."""

import json
import random
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from consumer.opening import load_engine, open_policy
from consumer.settings.load import load_settings
from model.batches import encode, predict_logits
from model.calibration import fit, read_calibration
from model.checkpoint.folder import fingerprint, load_model
from model.checkpoint.tokenizer import load_tokenizer
from model.engine.int8 import Agreement, read_int8, write_int8
from model.errors import InvalidOptions, ModelError
from tests.support.memory.store import MemoryStore
from tests.support.model_cli import offramp
from tests.support.tiny_model import WORDS, tiny_config, write_tiny_model


def test_check(tmp_path):
    """A good folder passes with exit code 0; each broken part is named, with exit code 1."""
    folder = write_tiny_model(tmp_path / "model")
    findings = json.loads(offramp("model", "check", folder, "-o", "json").stdout)
    assert [f["ok"] for f in findings] == [True] * 5
    assert "exits after layers 1, 2, 4" in findings[0]["found"]
    assert findings[3]["found"] == "none; `offramp model calibrate` makes it"
    (folder / "tokenizer.json").unlink()
    (folder / "calibration.json").write_text("{}")
    findings = json.loads(offramp("model", "check", folder, "-o", "json", code=1).stdout)
    assert [f["ok"] for f in findings] == [True, True, False, False, False]
    assert "tokenizer.json" in findings[2]["found"]
    assert "calibration.json: texts is None, expected a whole number" in findings[3]["found"]
    assert "FAILED" in offramp("model", "check", tmp_path / "absent", code=1).stdout


@pytest.fixture
def labelled(tmp_path):
    """A file of 240 random texts with the classes of the tiny model, by chance."""
    chance = random.Random(0)
    lines = [" ".join(chance.choices(WORDS, k=chance.randrange(1, 20))) for _ in range(240)]
    rows = [{"text": line, "label": chance.choice(("negative", "positive"))} for line in lines]
    path = tmp_path / "labelled.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def test_calibrate_adds_a_calibration(tmp_path, labelled):
    """The file is written, the new fingerprint told; check shows it, engine and export take it."""
    config = tiny_config(labels=("negative", "positive"))
    model = write_tiny_model(tmp_path / "model", config=config)
    before = fingerprint(model)
    (model / "calibration.json").write_text("broken")
    (model / "costs.json").write_text("{}")
    result = offramp("model", "calibrate", model, labelled, "-o", "json")
    found = json.loads(result.stdout)
    assert found["texts"] == 240
    assert found["fingerprint"] == fingerprint(model) != before
    assert f"has the fingerprint {fingerprint(model)} now; counters start anew" in result.stderr
    assert "costs.json belongs to the former fingerprint" in result.stderr
    assert "int8.safetensors" not in result.stderr
    calibration = read_calibration(model, exits=3)
    assert calibration is not None
    assert list(calibration.temperatures) == found["temperatures"]
    logits = predict_logits(
        load_model(model), encode(load_tokenizer(model), [t for t, _ in rows_of(labelled)], 24)
    )
    truth = [config.labels.index(label) for _, label in rows_of(labelled)]
    assert calibration == fit(logits.numpy(), truth)
    checked = offramp("model", "check", model, "-o", "json").stdout
    assert str(calibration) in [finding["found"] for finding in json.loads(checked)]
    offramp("model", "export", model, "--out", tmp_path / "copy")
    assert read_calibration(tmp_path / "copy", exits=3) == calibration
    table = offramp("model", "calibrate", model, labelled, "--texts", "200").stdout
    assert "worth of the step" in table
    assert read_calibration(model, exits=3) != calibration


def test_calibrate_refuses_what_tells_too_little(tmp_path, labelled):
    """Few texts, one class, unknown labels, a folder that is read-only: nothing is written."""
    model = write_tiny_model(tmp_path / "model")
    lines = labelled.read_text().splitlines()
    few = tmp_path / "few.jsonl"
    few.write_text("\n".join(lines[:199]))
    with pytest.raises(ModelError, match="199 labelled texts for calibration, at least 200"):
        offramp("model", "calibrate", model, few)
    few.write_text("\n".join(line for line in lines * 2 if "negative" in line))
    with pytest.raises(ModelError, match="the same label"):
        offramp("model", "calibrate", model, few)
    few.write_text(lines[0].replace("negative", "awful").replace("positive", "awful"))
    with pytest.raises(ModelError, match=r"few\.jsonl:1: label is 'awful'"):
        offramp("model", "calibrate", model, few)
    assert not (model / "calibration.json").exists()


def rows_of(path):
    rows = map(json.loads, path.read_text().splitlines())
    return [(row["text"], row["label"]) for row in rows]


def test_export_makes_an_old_checkpoint_usable(tmp_path, data):
    """A folder with a .bin is refused by name of the command that converts it; then it predicts."""
    usable = write_tiny_model(tmp_path / "model")
    old = tmp_path / "old"
    old.mkdir()
    torch.save(load_file(usable / "model.safetensors"), old / "pytorch_model.bin")
    for name in ("config.json", "tokenizer.json"):
        (old / name).write_bytes((usable / name).read_bytes())
    with pytest.raises(ModelError, match=rf"offramp model export {old} --out NEW --allow-bin"):
        offramp("model", "predict", data, "-m", old)
    with pytest.raises(ModelError, match="--allow-bin only"):
        offramp("model", "export", old, "--out", tmp_path / "new")
    result = offramp("model", "export", old, "--out", tmp_path / "new", "--allow-bin", "-o", "json")
    assert json.loads(result.stdout)["exits after layers"] == "1, 2, 4"
    assert (
        offramp("model", "predict", data, "-m", tmp_path / "new").stdout
        == offramp("model", "predict", data, "-m", usable).stdout
    )
    with pytest.raises(InvalidOptions, match="is not empty"):
        offramp("model", "export", usable, "--out", tmp_path / "new")


def test_predict(tmp_path, data):
    """A matrix has one line per text, on stdout or in a file; several files get one each."""
    model = write_tiny_model(tmp_path / "model")
    lines = offramp("model", "predict", data, "--model", model).stdout.splitlines()
    assert lines[0] == "0\t1\t2\top_labels"
    assert len(lines) == 97
    texts = tmp_path / "other.txt"
    texts.write_text("a film\n" * 600)
    out = tmp_path / "matrices"
    result = offramp("model", "predict", data, texts, "-m", model, "--out", out, "-o", "json")
    assert (out / "toy-train.tsv").read_text().splitlines() == lines
    other = (out / f"{tmp_path.name}-other.tsv").read_text().splitlines()
    assert (other[0], len(other)) == ("0\t1\t2", 601)
    first, second = json.loads(result.stdout)
    assert first["report"]["texts"] == 96
    assert second["report"] is None


def test_predict_reads_what_people_bring(tmp_path):
    """A CSV, JSON lines and a suffix in capitals give the same matrix, no header or quotes."""
    model = write_tiny_model(tmp_path / "model")
    contents = {
        "a.tsv": "text\tlabel\ngood film\tpositive\nbad film\tnegative\n",
        "b.TSV": "text\tlabel\ngood film\t2\nbad film\t0\n",
        "c.csv": '\ufefftext,label\r\n"good film",positive\r\n"bad film",negative\r\n',
        "d.jsonl": '{"text": "good film", "label": 2}\n{"text": "bad film", "label": "negative"}\n',
    }
    said = set()
    for name, content in contents.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
        said.add(offramp("model", "predict", tmp_path / name, "--model", model).stdout)
    (matrix,) = said
    assert len(matrix.splitlines()) == 3


def test_labels_that_the_model_does_not_know_are_refused(tmp_path):
    """With the classes that it has; --no-labels leaves them out."""
    model = write_tiny_model(tmp_path / "model")
    path = tmp_path / "a.csv"
    path.write_text("text,label\ngood,0\nbad,4\n")
    with pytest.raises(ModelError, match=r"a\.csv:3: label is '4', .* 2 = positive; .*--no-labels"):
        offramp("model", "predict", path, "--model", model)
    matrix = offramp("model", "predict", path, "--model", model, "--no-labels").stdout
    assert matrix.splitlines()[0] == "0\t1\t2"


def test_predict_counts_cut_texts(tmp_path):
    """Texts that are too long are cut and counted on stderr; an impossible limit is refused."""
    model = write_tiny_model(tmp_path / "model")
    texts = tmp_path / "long.txt"
    texts.write_text("good " * 50 + "\nbad\n")
    assert "1 of 2 texts cut to 24 tokens" in offramp("model", "predict", texts, "-m", model).stderr
    with pytest.raises(InvalidOptions, match=r"max_tokens is 900, but this model takes 3\.\.24"):
        offramp("model", "predict", texts, "-m", model, "--max-tokens", "900")
    with pytest.raises(InvalidOptions, match="need a folder for their matrices"):
        offramp("model", "predict", texts, texts, "-m", model)


def test_starts_without_torch():
    """The commands are there at once: torch and transformers load only when one runs."""
    code = "import sys, consumer.cli.model.inspect; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_bench(tmp_path):
    """Speed is reported for every exit and precision asked for; of `auto` for what it chose."""
    model = write_tiny_model(tmp_path / "model")
    result = offramp(
        "model", "bench", model, "--texts", "4", "--tokens", "7", "--repeat", "1",
        "--precision", "fp32", "-o", "json",
    )  # fmt: skip
    found = json.loads(result.stdout)
    rows = found["exits"]
    assert [(row["exit"], row["layer"]) for row in rows] == [(0, 1), (1, 2), (2, 4)]
    assert all(row["texts_per_s"] > 0 for row in rows)
    assert (found["kind"], found["texts"], found["few_texts"]) == ("model-bench", 4, 1)
    assert 5 <= found["tokens_per_text"] <= 12
    assert {row["price_per_million"] for row in rows} == {None}
    priced = offramp(
        "model", "bench", model, "--texts", "4", "--repeat", "1", "--precision", "fp32",
        "--price-per-hour", "3.6", "-o", "json",
    )  # fmt: skip
    for row in json.loads(priced.stdout)["exits"]:
        assert row["price_per_million"] == pytest.approx(1000 / row["texts_per_s"], rel=0.01)
    chosen = offramp(
        "model",
        "bench",
        model,
        "--texts",
        "4",
        "--repeat",
        "1",
        "--precision",
        "auto",
        "-o",
        "json",
    )
    precisions = {row["precision"] for row in json.loads(chosen.stdout)["exits"]}
    assert precisions <= {"fp32", "bf16"}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_cuda_without_a_gpu_is_one_line(tmp_path):
    """A device that is not there is told, without a traceback."""
    model = write_tiny_model(tmp_path / "model")
    for command in (("bench", model), ("predict", tmp_path / "absent.txt", "-m", model)):
        with pytest.raises(InvalidOptions, match=r"^device is 'cuda', but torch .* no GPU here$"):
            offramp("model", *command, "--device", "cuda")


def test_int8_and_costs_are_made(tmp_path):
    """Both files are written beside the model, and what a worker loads there takes them."""
    config = tiny_config(exit_layers=(1, 3), hidden_size=64, labels=("negative", "positive"))
    model = write_tiny_model(tmp_path / "model", config=config)
    texts = tmp_path / "texts.txt"
    chance = random.Random(0)
    lines = [" ".join(chance.choices(WORDS, k=chance.randrange(1, 20))) for _ in range(240)]
    texts.write_text("\n".join(lines))
    command = ("model", "costs", model, texts, "--precision", "fp32")
    assert "cost (cpu, fp32)" in offramp(*command).stdout
    found = json.loads(offramp(*command, "-o", "json").stdout)
    assert (found["precision"], found["costs"][-1]) == ("fp32", 1.0)

    named = {"model.path": model, "model.device": "cpu", "policy.cost": "measured"}
    settings = load_settings(options={**named, "model.precision": "fp32"})
    opened = open_policy(settings, load_engine(settings), MemoryStore())
    assert opened.meta.settings.cost == pytest.approx(found["costs"], abs=1e-4)
    settings = load_settings(options={**named, "model.precision": "bf16"})
    with pytest.raises(ModelError, match="fp32, but this engine has bf16"):
        open_policy(settings, load_engine(settings), MemoryStore())

    try:
        result = offramp("model", "int8", model, texts, "-o", "json")
    except (AttributeError, RuntimeError, AssertionError) as error:
        pytest.skip(f"no int8 products in this build of torch: {error}")
    agreement = json.loads(result.stdout)
    assert agreement["texts"] == 120
    assert min(agreement["shares"]) > 0.6
    exact = load_engine(settings)
    print_ = exact.fingerprint
    ranges = read_int8(model, exact.config, fingerprint=print_, least_agreement=0.6)
    write_int8(model, ranges, fingerprint=print_, agreement=Agreement((0.7, 0.6), texts=120))
    asked = {**named, "model.precision": "int8", "model.least_int8_agreement": 0.5}
    assert load_engine(load_settings(options=asked)).precision == "int8"
    with pytest.raises(
        ModelError, match=r"60\.00% of 120 texts in int8, at least 65\.00% is required"
    ):
        load_engine(load_settings(options={**asked, "model.least_int8_agreement": 0.65}))
