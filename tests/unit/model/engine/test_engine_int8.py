"""Int8: close to fp32 after calibration, and refused where it is not proven to be."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from model.engine.calibrate import calibrate_int8, label_agreement
from model.engine.engine import Engine
from model.engine.int8 import INT8_FILE, Agreement, read_int8, write_int8
from model.engine.kernels import chosen_precision
from model.errors import InvalidCheckpoint, InvalidData, InvalidOptions
from tests.support.tiny_model import WORDS, tiny_config, write_tiny_model


def some_texts(count: int = 240) -> list[str]:
    chance = random.Random(0)
    return [" ".join(chance.choices(WORDS, k=chance.randrange(1, 20))) for _ in range(count)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a small model whose int8 form is calibrated."""
    config = tiny_config(exit_layers=(1, 3), hidden_size=64, labels=("negative", "positive"))
    folder = write_tiny_model(tmp_path_factory.mktemp("model"), config=config)
    try:
        calibrate_int8(folder, some_texts())
    except (AttributeError, RuntimeError) as error:
        pytest.skip(f"no int8 products in this build of torch: {error}")
    return folder


def test_int8_labels_agree_with_fp32(folder: Path) -> None:
    """On texts that calibration has not seen, nearly all labels are those of fp32."""
    exact = Engine(folder, device="cpu")
    quantised = Engine(folder, device="cpu", precision="int8", least_int8_agreement=0.9)
    texts = some_texts(400)[240:]
    assert min(label_agreement(exact, quantised, texts)) > 0.9
    pairs = zip(exact.run(texts, [1] * 160), quantised.run(texts, [1] * 160), strict=True)
    errors = [abs(a.scores[-1] - b.scores[-1]) for a, b in pairs if a.labels == b.labels]
    assert sum(errors) / len(errors) < 0.05


def test_int8_does_not_depend_on_the_neighbours(folder: Path) -> None:
    """Steps are fixed by calibration, so a text's scores are the same in any company."""
    engine = Engine(folder, device="cpu", precision="int8", least_int8_agreement=0.0)
    texts = some_texts(30)
    together = engine.run(texts, [1] * 30)
    for text, among in zip(texts, together, strict=True):
        (alone,) = engine.run([text], [1])
        assert alone.scores == pytest.approx(among.scores, abs=0.02)


def test_an_exit_below_the_asked_agreement_is_refused(folder: Path, tmp_path: Path) -> None:
    """The gate names the exit, what was measured, on how many texts, and what is asked."""
    exact = Engine(folder, device="cpu")
    print_, config = exact.fingerprint, exact.config
    ranges = read_int8(folder, config, fingerprint=print_, least_agreement=0.0)
    agreement = Agreement((0.995, 0.97), texts=200)
    write_int8(tmp_path, ranges, fingerprint=print_, agreement=agreement)
    with pytest.raises(
        InvalidCheckpoint,
        match=r"exit 1 agrees with fp32 on 97\.00% of 200 texts in int8, at least 99\.00% is",
    ):
        read_int8(tmp_path, config, fingerprint=print_, least_agreement=0.99)
    read_int8(tmp_path, config, fingerprint=print_, least_agreement=0.97)
    write_int8(tmp_path, ranges, fingerprint=print_, agreement=Agreement((1.0,), texts=200))
    with pytest.raises(InvalidCheckpoint, match="measured at 1 exit, but the model has 2"):
        read_int8(tmp_path, config, fingerprint=print_, least_agreement=0.5)


@pytest.mark.parametrize("change", ["", "fingerprint", "agreement", "texts"])
def test_a_calibration_that_does_not_say_what_it_is_is_refused(
    folder: Path, tmp_path: Path, change: str
) -> None:
    """Without metadata, or without a part of it, the error names the file and the command."""
    with safe_open(folder / INT8_FILE, framework="pt") as file:
        metadata = {**file.metadata(), "agreement": "[]"}
    metadata.pop(change, None)
    exact = Engine(folder, device="cpu")
    tensors = load_file(folder / INT8_FILE)
    save_file(tensors, tmp_path / INT8_FILE, metadata=metadata if change else None)
    with pytest.raises(InvalidCheckpoint, match=r"no usable int8 .*model int8"):
        read_int8(tmp_path, exact.config, fingerprint=exact.fingerprint, least_agreement=0.5)


def test_a_calibration_of_another_model_is_refused(folder: Path, tmp_path: Path) -> None:
    """Ranges belong to the weights they were measured with."""
    other = write_tiny_model(
        tmp_path, seed=1, config=tiny_config(exit_layers=(1, 3), hidden_size=64)
    )
    (other / INT8_FILE).write_bytes((folder / INT8_FILE).read_bytes())
    with pytest.raises(InvalidCheckpoint, match="calibrated for model"):
        Engine(other, device="cpu", precision="int8")


def test_int8_without_calibration_is_refused(tmp_path: Path) -> None:
    """There are no silent guesses about ranges."""
    with pytest.raises(InvalidCheckpoint, match="no usable int8 calibration"):
        Engine(write_tiny_model(tmp_path), device="cpu", precision="int8")


def test_too_few_texts_cannot_calibrate(folder: Path) -> None:
    """A share of 99 % cannot be told from a handful of texts."""
    with pytest.raises(InvalidData, match="99 texts for calibration; at least 100"):
        calibrate_int8(folder, ["good"] * 99)


def test_int8_is_for_the_cpu() -> None:
    """On CUDA the error says so at once."""
    with pytest.raises(InvalidOptions, match="runs on the CPU only"):
        chosen_precision("int8", torch.device("cuda"), width=32)
