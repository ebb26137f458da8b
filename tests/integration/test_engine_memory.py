"""The engine's memory: bounded by the token budget, and a real lack of it halves the batch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.engine_memory import Run, peak_bytes
from tests.tiny_model import tiny_config, write_tiny_model

REPOSITORY = Path(__file__).resolve().parents[2]
PROGRAM = """
import resource, sys, torch
from pathlib import Path
from model.engine import Engine

torch.set_num_threads(1)
engine = Engine(Path(sys.argv[1]), device="cpu", max_batch_tokens=262_144)
text = "good " * 500
engine.run([text], [1])
pages = int(Path("/proc/self/statm").read_text().split()[0])
limit = pages * resource.getpagesize() + 160 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
results = engine.run([text] * 512 + ["bad"], [1] * 513)
assert len(results) == 513 and all(len(result.labels) == 2 for result in results)
print(engine.max_batch_tokens)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")
def test_a_lack_of_memory_halves_the_batch_and_every_text_is_answered(tmp_path: Path) -> None:
    """With 160 MiB left, batches of 262,144 tokens do not fit; smaller ones do, and stay small."""
    config = tiny_config(exit_layers=(1, 2), hidden_size=64, positions=512)
    folder = write_tiny_model(tmp_path / "model", config=config)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert 512 <= int(done.stdout) <= 131_072
    assert "out_of_memory" in done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak as Linux tells it")
def test_the_token_budget_bounds_the_memory_of_any_load(tmp_path: Path) -> None:
    """100,000 tokens, 4,096 at once, take at most 128 bytes a channel of each of the 4,096.

    That and 16 MiB for the process; without the budget it is 420 MiB.
    """
    config = tiny_config(exit_layers=(1, 3), hidden_size=128, positions=512)
    folder = write_tiny_model(tmp_path / "model", config=config)
    lengths = (500, 300, 100, 20, 80) * 100
    run = Run(str(folder), "cpu", "fp32", max_batch_tokens=4096, lengths=lengths)
    assert peak_bytes(run) < 128 * 4096 * 128 + 16 * 2**20
