"""The measured cost vector: relative to the last exit, rising, tied to its model."""

from __future__ import annotations

import json
from itertools import count
from pathlib import Path

import pytest

from model.engine.calibrate import measure_costs, read_costs, write_costs
from model.engine.engine import Engine
from model.errors import InvalidData
from tests.support.tiny_model import write_tiny_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("model"))


def test_costs_are_times_relative_to_the_last_exit(folder: Path) -> None:
    """With a clock on which exits take 1, 2 and 4 seconds the vector is 0.25, 0.5, 1."""
    spent = [0.0, 1.0, 1.0, 3.0, 3.0, 7.0]  # start and end of exits 0, 1, 2
    times = (spent[i % 6] + i // 6 * 10 for i in count())
    costs = measure_costs(
        Engine(folder, device="cpu"), ["good film"], rounds=3, clock=lambda: next(times)
    )
    assert costs == (0.25, 0.5, 1.0)


def test_real_costs_rise_with_depth(folder: Path) -> None:
    """However noisy the machine, a deeper exit never costs less and the last one costs 1."""
    costs = measure_costs(Engine(folder, device="cpu"), ["good film", "the room was bad"], rounds=2)
    assert costs == tuple(sorted(costs))
    assert costs[-1] == 1.0
    assert costs[0] > 0


def test_saved_costs_belong_to_model_device_and_precision(folder: Path, tmp_path: Path) -> None:
    """What is read is what was written; costs of another model or precision are refused."""
    engine = Engine(folder, device="cpu")
    write_costs(folder, engine, (0.25, 0.5, 1.0))
    assert read_costs(folder, engine) == (0.25, 0.5, 1.0)
    with pytest.raises(InvalidData, match="measured with precision fp32, but this engine has bf16"):
        read_costs(folder, Engine(folder, device="cpu", precision="bf16"))
    path = folder / "costs.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"device": "cuda"}))
    with pytest.raises(InvalidData, match="measured with device cuda, but this engine has cpu"):
        read_costs(folder, engine)
    path.write_text(json.dumps(content | {"costs": [0.5, 1.0]}))
    with pytest.raises(InvalidData, match="2 costs, but the model has 3 exits"):
        read_costs(folder, engine)
    other = Engine(write_tiny_model(tmp_path, seed=1), device="cpu")
    with pytest.raises(InvalidData, match="measured with fingerprint"):
        read_costs(folder, other)


def test_without_texts_or_file_there_are_no_costs(folder: Path, tmp_path: Path) -> None:
    """Both say what is missing, and the command that makes it."""
    engine = Engine(folder, device="cpu")
    with pytest.raises(InvalidData, match="no texts"):
        measure_costs(engine, [])
    with pytest.raises(InvalidData, match=r"no usable cost vector.*model costs"):
        read_costs(tmp_path, engine)
