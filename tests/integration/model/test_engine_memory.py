"""The engine's memory: bounded by the token budget, and a real lack of it halves the batch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.engine.memory import Run, peak_bytes
from tests.support.tiny_model import tiny_config, write_tiny_model

REPOSITORY = Path(__file__).resolve().parents[3]
PROGRAM = """
import resource, sys, torch
from pathlib import Path
from model.engine.engine import Engine

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


def run(program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a program in a separate process, and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", program, *map(str, arguments)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")
def test_a_lack_of_memory_halves_the_batch_and_every_text_is_answered(tmp_path: Path) -> None:
    """With 160 MiB left, batches of 262,144 tokens do not fit; smaller ones do, and stay small."""
    config = tiny_config(exit_layers=(1, 2), hidden_size=64, positions=512)
    folder = write_tiny_model(tmp_path / "model", config=config)
    done = run(PROGRAM, folder)
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


GROWTH = """
import ctypes, re, sys, torch
from pathlib import Path
from model.engine.engine import Engine
from model.tokeniser import Tokens

def resident():
    ctypes.CDLL(None).malloc_trim(0)
    return int(re.search(r"VmRSS:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024

torch.set_num_threads(1)
engine = Engine(Path(sys.argv[1]), device="cpu", precision="bf16")
first, word, last = engine.tokenise(["a"]).ids[0]
before = resident()
for rows in range(3, 4097, 3):
    lengths = [512] * (rows // 512) + ([rows % 512] if rows % 512 > 2 else [])
    ids = [[first, *[word] * (length - 2), last] for length in lengths]
    engine.run_tokens(Tokens.of(ids), [1] * len(ids))
print(resident() - before)
"""
LOADING = """
import re, sys
from pathlib import Path
from model.engine.engine import Engine

def memory(kind):
    return int(re.search(kind + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024

before = memory("VmRSS")
engine = Engine(Path(sys.argv[1]), device="cpu", precision=sys.argv[2])
print(memory("VmHWM") - before, memory("VmRSS") - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the memory as Linux tells it")
def test_a_process_that_has_met_every_batch_size_holds_kernels_of_300_mib_at_most(
    tmp_path: Path,
) -> None:
    """Batches of all sizes up to 4,096 tokens, texts of all lengths: a few kernels serve them."""
    config = tiny_config(exit_layers=(1, 2), hidden_size=64, positions=512)
    folder = write_tiny_model(tmp_path / "model", config=config)
    assert int(run(GROWTH, folder).stdout) < 300 * 2**20


@pytest.mark.skipif(sys.platform != "linux", reason="reads the memory as Linux tells it")
@pytest.mark.parametrize(("precision", "copies"), [("fp32", 1.0), ("bf16", 0.5)])
def test_loading_a_deep_model_never_holds_its_weights_twice(
    tmp_path: Path, precision: str, copies: float
) -> None:
    """They are there once in fp32 and once as stored, then once as they run; and 64 MiB."""
    config = tiny_config(exit_layers=(1, 12), hidden_size=512, positions=64)
    folder = write_tiny_model(tmp_path / "model", config=config)
    fp32 = 2 * (folder / "model.safetensors").stat().st_size  # it is stored in 16 bits
    peak, resting = map(int, run(LOADING, folder, precision).stdout.split())
    assert peak < 1.5 * fp32 + 64 * 2**20
    assert resting < copies * fp32 + 64 * 2**20
