"""The benchmark of a GPU: every part runs without a GPU, and what one told is kept if it breaks."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from importlib import import_module

import pytest
import torch

from benchmarks.engine.model import write_model
from benchmarks.gpu.findings import Request, operations, plain_operations
from benchmarks.gpu.measure import PARTS, run_part
from benchmarks.report import Report

GOALS = {"equality": 1, "speed": 8, "memory": 1}


@pytest.fixture(scope="module")
def request_of(tmp_path_factory) -> Request:
    folder = write_model(tmp_path_factory.mktemp("gpu") / "model", width=64)
    return Request("", str(folder), device="cpu", width=64, quick=True, ends_at=time.time() + 600)


@pytest.fixture(autouse=True)
def one_thread():
    """Leave the other core to other tests."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("part", PARTS)
def test_every_part_tells_rows_and_its_goals_without_a_gpu(part, request_of, capfd) -> None:
    """A small model on the CPU goes through the same code, and nothing fails on the way."""
    import_module(f"benchmarks.gpu.{part}").measure(replace(request_of, part=part))
    found = [json.loads(line) for line in capfd.readouterr().out.splitlines() if line[:1] == "{"]
    assert [one["cells"] for one in found if "table" in one]
    assert not [one["note"] for one in found if "failed" in one.get("note", "")]
    assert sum("goal" in one for one in found) == GOALS.get(part, 0)


def test_a_part_that_breaks_or_is_late_leaves_a_report(request_of, tmp_path) -> None:
    """The report says how the part ended, and is written."""
    report = Report("gpu")
    run_part(report, replace(request_of, part="memory", folder=str(tmp_path)), out=tmp_path)
    run_part(report, replace(request_of, part="speed", ends_at=time.time()), out=tmp_path)
    broken, late = json.loads((tmp_path / "gpu.json").read_text())["notes"]
    assert broken.startswith("memory: with status 1 after")
    assert late.startswith("speed: by its time limit after")


def test_operations_are_counted_as_the_engine_runs_them() -> None:
    """The last layer computes only one token in full; a plain BERT computes all of them."""
    n, d = 128, 768
    layer = 24 * d**2 + 4 * n * d
    assert plain_operations([n, n], [12, 3], d) == 15 * n * layer
    kept = n * (4 * d**2 + 4 * d) + 20 * d**2
    assert operations([n], [12], d) == 11 * n * layer + kept + 2 * 12 * d**2
