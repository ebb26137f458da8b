"""The peak memory of an engine's run beyond its weights, each in a fresh process."""

from __future__ import annotations

import ctypes
import json
import resource
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from benchmarks.engine.model import workload
from benchmarks.report import Table
from model.engine.engine import Engine
from model.tokeniser import Tokens

_PROGRAM = "import sys; from benchmarks.engine.memory import answer; answer(sys.argv[1])"


@dataclass(frozen=True, slots=True)
class Run:
    """What runs: texts of these lengths to the last exit, so many tokens at once at most."""

    folder: str
    device: str
    precision: str
    max_batch_tokens: int
    lengths: tuple[int, ...]
    threads: int = 1


def memory(folder: Path, *, device: str, precision: str, quick: bool) -> Table:
    """Return the peak memory of a full-depth run, by the number of tokens allowed in a batch."""
    budgets = (1024, 4096) if quick else (512, 1024, 2048, 4096, 8192, 16384)
    lengths = workload("long", 32 if quick else 128).tokens
    rows = []
    for budget in budgets:
        peak = peak_bytes(
            Run(str(folder), device, precision, budget, lengths, torch.get_num_threads())
        )
        rows.append((budget, round(peak / 2**20)))
    title = (
        f"Peak memory of a full-depth run of {sum(lengths):,} tokens, {precision}, beyond weights"
    )
    return Table(title, ("tokens in a batch at most", "MiB"), tuple(rows))


def peak_bytes(run: Run) -> int:
    """Return how much memory a run takes at most, beyond what an engine that is ready holds."""
    done = subprocess.run(  # noqa: S603  (ourselves)
        [sys.executable, "-P", "-c", _PROGRAM, json.dumps(asdict(run))],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return int(done.stdout)


def answer(request: str) -> None:
    """Print the peak of the run that `request` describes; this process must be a fresh one."""
    run = Run(**json.loads(request))
    torch.set_num_threads(run.threads)
    engine = Engine(
        Path(run.folder),
        device=run.device,
        precision=run.precision,
        max_batch_tokens=run.max_batch_tokens,
    )
    tokens = _tokens(engine, run.lengths)
    before = _reset_peak(engine.device)
    engine.run_tokens(tokens, [engine.config.exits - 1] * len(tokens))
    print(_peak(engine.device) - before)


def _tokens(engine: Engine, lengths: Sequence[int]) -> Tokens:
    word = engine.tokenise(["a"]).ids[0]
    return Tokens.of([[word[0], *[word[1]] * (length - 2), word[-1]] for length in lengths])


def _reset_peak(device: torch.device) -> int:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    return _peak(device)


def _peak(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
