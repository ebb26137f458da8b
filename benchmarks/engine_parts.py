"""The parts of the engine benchmark that look at the engine alone."""

from __future__ import annotations

import ctypes
import resource
import time
from collections import Counter
from functools import partial
from pathlib import Path

import torch
from torch.nn import functional as F  # noqa: N812  (torch's own convention)

from benchmarks.engine_model import LAYERS, Workload, workload
from benchmarks.report import Table
from benchmarks.timing import paired
from model.engine import Engine
from model.linear import Kernel, prepacked

_D = 768
_KINDS = {
    "linear": "linear layers",
    "addmm": "linear layers",
    "attention": "attention",
    "bmm": "attention",
    "softmax": "attention",
    "layer_norm": "layer norm",
    "baddbmm": "heads",
    "addcmul": "quantising",
    "clamp": "quantising",
    "add": "residual",
    "copy": "copies",
    "cat": "copies",
    "index_select": "copies",
    "embedding": "copies",
}


def flops(load: Workload, layer: int) -> float:
    """Return the operations of running every text to the exit after `layer`, as we run it."""
    full = sum(n * (24 * _D**2 + 4 * n * _D) for n in load.tokens)
    last = sum(n * 8 * _D**2 + 16 * _D**2 + 4 * n * _D for n in load.tokens)
    heads = 2 * layer * _D**2 * len(load.tokens)
    return float((layer - 1) * full + last + heads)


def matmul_peak(device: torch.device) -> float:
    """Return the best bf16 rate of plain matrix products on this machine, operations a second."""
    best = 0.0
    shapes = ((1024, 3072, 768), (1024, 768, 3072), (2048, 2048, 2048))
    if device.type == "cuda":
        shapes = ((8192, 8192, 8192), (16384, 3072, 768), (16384, 768, 3072))
    for rows, out, inner in shapes:
        x = torch.randn(rows, inner, device=device, dtype=torch.bfloat16)
        weight = torch.randn(out, inner, device=device, dtype=torch.bfloat16)
        bias = torch.zeros(out, device=device, dtype=torch.bfloat16)
        kernels: list[Kernel] = [partial(F.linear, weight=weight, bias=bias)]
        if device.type == "cpu":
            kernels.append(prepacked(weight, bias, False))
        for kernel in kernels:
            kernel(x)
            for _ in range(10):
                _wait(device)
                start = time.perf_counter()
                kernel(x)
                _wait(device)
                best = max(best, 2.0 * rows * out * inner / (time.perf_counter() - start))
    return best


def depth(
    engine: Engine,
    load: Workload,
    *,
    rounds: int,
    peak: float,
    layers: tuple[int, ...] = LAYERS,
) -> tuple[Table, float]:
    """Return a table by exit, and the worst cost above (layer - 0.8) / 12 of twelve layers."""
    tokens = engine.tokenise(load.texts)
    runs = {
        str(layer): lambda e=layer - 1: engine.run_tokens(tokens, [e] * len(load.texts))
        for layer in layers
    }
    timings = paired(runs, rounds=rounds)
    twelve = timings.median_s("12") * 12 / 11.2  # the last layer runs as 0.2 of one
    rows = []
    worst = 0.0
    for layer in layers:
        seconds = timings.median_s(str(layer))
        cost, ideal = seconds / twelve, (layer - 0.8) / 12
        worst = max(worst, cost - ideal)
        share = flops(load, layer) / seconds / peak
        speed = round(len(load.texts) / seconds, 1)
        rows.append((layer, speed, round(cost, 3), round(ideal, 3), round(share, 2)))
    title = f"{load.name.capitalize()} texts by exit layer, {engine.precision}"
    columns = ("layer", "texts/s", "cost of twelve layers", "(layer - 0.8) / 12", "share of peak")
    return Table(title, columns, tuple(rows)), worst


def heads_share(engine: Engine, load: Workload, *, rounds: int) -> float:
    """Return the time of all heads of a batch, as a share of running it to the last exit."""
    tokens = engine.tokenise(load.texts)
    firsts = torch.randn(len(LAYERS), len(load.texts), _D, device=engine.device)

    def heads() -> None:
        with torch.inference_mode():
            engine.encoder.classify(firsts)
            _wait(engine.device)

    last = [len(LAYERS) - 1] * len(load.texts)
    timings = paired(
        {"run": lambda: engine.run_tokens(tokens, last), "heads": heads}, rounds=max(rounds, 3)
    )
    return timings.median_s("heads") / timings.median_s("run")


def mixed(engine: Engine, load: Workload, *, rounds: int) -> float:
    """Return the time of a batch with exits after 1, 3, 7 and 12, over its four parts alone."""
    exits = [(0, 2, 6, 11)[i % 4] for i in range(len(load.texts))]
    whole = engine.tokenise(load.texts)
    parts = [
        (engine.tokenise([t for t, e in zip(load.texts, exits, strict=True) if e == exit_]), exit_)
        for exit_ in sorted(set(exits))
    ]

    def separately() -> None:
        for tokens, exit_ in parts:
            engine.run_tokens(tokens, [exit_] * len(tokens))

    timings = paired(
        {"mixed": lambda: engine.run_tokens(whole, exits), "parts": separately},
        rounds=max(rounds, 3),
    )
    return 1 / (timings.speedup("mixed", "parts") or 1.0)


def breakdown(engine: Engine, load: Workload, name: str) -> Table:
    """Return where the time of a full-depth run goes, by kind of operation."""
    tokens = engine.tokenise(load.texts)
    last = [len(LAYERS) - 1] * len(load.texts)
    engine.run_tokens(tokens, last)
    with torch.profiler.profile() as profile:
        engine.run_tokens(tokens, last)
    spent: Counter[str] = Counter()
    for event in profile.key_averages():
        on_gpu = getattr(event, "self_device_time_total", 0)
        spent[_kind(event.key)] += (
            on_gpu if engine.device.type == "cuda" else event.self_cpu_time_total
        )
    total = sum(spent.values())
    rows = [(kind, f"{time_us / total:.1%}") for kind, time_us in spent.most_common()]
    return Table(f"Where the time goes: {load.name}, {name}", ("part", "share"), tuple(rows))


def memory(folder: Path, *, device: str, precision: str, quick: bool) -> Table:
    """Return the peak memory of a batch, by the number of tokens allowed in one."""
    rows = []
    load = workload("long", 16 if quick else 64)
    for budget in (1024, 4096) if quick else (512, 1024, 2048, 4096, 8192, 16384):
        engine = Engine(folder, device=device, precision=precision, max_batch_tokens=budget)
        tokens = engine.tokenise(load.texts)
        before = _reset_peak(engine.device)
        engine.run_tokens(tokens, [1] * len(tokens))
        rows.append((budget, round((_peak(engine.device) - before) / 2**20)))
    title = f"Peak memory of a run through two layers, {precision}, beyond weights"
    return Table(title, ("tokens in a batch at most", "MiB"), tuple(rows))


def _kind(operation: str) -> str:
    plain = operation.removeprefix("aten::").lower()
    if plain.startswith("baddbmm"):
        return "heads"
    return next((kind for word, kind in _KINDS.items() if word in plain), "other")


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


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()
