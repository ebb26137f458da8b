"""On real text the shipped model gives the labels of fp32 in bf16 and, calibrated, in int8."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from model.engine.calibrate import calibrate_int8, label_agreement
from model.engine.engine import Engine

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the shipped model, to calibrate."""
    shipped = sorted(REPOSITORY.glob("model/pretrained/*/config.json"))
    if not shipped:
        pytest.skip("needs a trained model: there is none under model/pretrained")
    return Path(shutil.copytree(shipped[0].parent, tmp_path_factory.mktemp("model") / "shipped"))


@pytest.fixture(scope="module")
def texts() -> list[str]:
    """Return the demo's reviews."""
    files = sorted(REPOSITORY.glob("demo/reviews/*.jsonl"))
    lines = [line for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    return [json.loads(line)["text"] for line in lines if line]


def test_bf16_agrees_with_fp32(folder: Path, texts: list[str]) -> None:
    """At every exit at least 99 % of labels are equal (goal 99.5 %, one text in 200 as margin)."""
    exact = Engine(folder, device="cpu")
    rounded = Engine(folder, device="cpu", precision="bf16")
    assert min(label_agreement(exact, rounded, texts)) >= 0.99


def test_int8_agrees_with_fp32(folder: Path, texts: list[str]) -> None:
    """At every exit at least 97.5 % of labels are equal (goal 99 %, margin three texts in 200)."""
    try:
        calibrate_int8(folder, texts[::2])
    except (AttributeError, RuntimeError) as error:
        pytest.skip(f"no int8 products in this build of torch: {error}")
    exact = Engine(folder, device="cpu")
    quantised = Engine(folder, device="cpu", precision="int8", least_int8_agreement=0.0)
    assert min(label_agreement(exact, quantised, texts[1::2])) >= 0.975
