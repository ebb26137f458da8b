"""The parts of the engine benchmark that look at the engine alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  (torch's own convention)

from benchmarks.engine.model import LAYERS, Workload
from benchmarks.report import Table
from benchmarks.timing import Clock, paired
from model.engine.engine import Engine
from model.engine.kernels import Kernel, prepacked

_D = 768
_KINDS = {  # by a word in the name of an operation or of a GPU's kernel; the first one counts
    "flash": "attention",
    "gelu": "GELU",
    "linear": "linear layers",
    "addmm": "linear layers",
    "gemm": "linear layers",
    "nvjet": "linear layers",
    "cutlass": "linear layers",
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
    "indexselect": "copies",
    "embedding": "copies",
    "memcpy": "copies",
}


def flops(load: Workload, layer: int) -> float:
    """Return the operations of running every text to the exit after `layer`, as we run it."""
    full = sum(n * (24 * _D**2 + 4 * n * _D) for n in load.tokens)
    last = sum(n * 4 * _D**2 + 20 * _D**2 + 4 * n * _D for n in load.tokens)
    heads = 2 * layer * _D**2 * len(load.tokens)
    return float((layer - 1) * full + last + heads)


@dataclass(frozen=True, slots=True)
class Products:
    """Plain bf16 matrix products, the best this machine does: what shares of a peak refer to."""

    run: Callable[[], object]
    operations: float


def best_products(device: torch.device, *, clock: Clock, seconds: float = 0.5) -> Products:
    """Return the fastest of a few shapes and kernels, repeated to take about `seconds`."""
    shapes = ((1024, 3072, 768), (1024, 768, 3072), (2048, 2048, 2048))
    if device.type == "cuda":
        shapes = ((8192, 8192, 8192), (16384, 3072, 768), (16384, 768, 3072))
    found = []
    for rows, out, inner in shapes:
        x = torch.randn(rows, inner, device=device, dtype=torch.bfloat16)
        weight = torch.randn(out, inner, device=device, dtype=torch.bfloat16)
        bias = torch.zeros(out, device=device, dtype=torch.bfloat16)
        kernels: list[Kernel] = [partial(F.linear, weight=weight, bias=bias)]
        if device.type == "cpu":
            kernels.append(prepacked(weight, bias, False))
        for kernel in kernels:
            once = partial(_times, kernel, x, 1)
            spent = min(paired({"once": once}, rounds=10, clock=clock).seconds["once"])
            found.append((2.0 * rows * out * inner / spent, spent, kernel, x))
    rate, spent, kernel, x = max(found, key=lambda each: each[0])
    times = max(1, round(seconds / spent))
    return Products(partial(_times, kernel, x, times), times * rate * spent)


def _times(kernel: Kernel, x: Tensor, times: int) -> None:
    with torch.inference_mode():
        for _ in range(times):
            kernel(x)
        _wait(x.device)


def depth(  # noqa: PLR0913  (what to measure, and how)
    engine: Engine,
    load: Workload,
    *,
    rounds: int,
    clock: Clock,
    peak: float,
    layers: tuple[int, ...] = LAYERS,
) -> tuple[Table, float, float]:
    """Return a table by exit, the worst cost above (layer - 0.8) / 12, and the last share of peak.

    Texts are tokenised before.
    """
    tokens = engine.tokenise(load.texts)
    runs = {
        str(layer): lambda e=layer - 1: engine.run_tokens(tokens, [e] * len(load.texts))
        for layer in layers
    }
    timings = paired(runs, rounds=rounds, clock=clock)
    twelve = timings.median_s("12") * 12 / 11.2  # the last layer runs as 0.2 of one
    rows = []
    worst = share = 0.0
    for layer in layers:
        seconds = timings.median_s(str(layer))
        cost, ideal = seconds / twelve, (layer - 0.8) / 12
        worst = max(worst, cost - ideal)
        share = flops(load, layer) / seconds / peak
        speed = round(len(load.texts) / seconds, 1)
        rows.append((layer, speed, round(cost, 3), round(ideal, 3), round(share, 2)))
    title = f"{load.name.capitalize()} texts by exit layer, {engine.precision}"
    columns = ("layer", "texts/s", "cost of twelve layers", "(layer - 0.8) / 12", "share of peak")
    return Table(title, columns, tuple(rows)), worst, share


def heads_share(engine: Engine, load: Workload, *, rounds: int, clock: Clock) -> float:
    """Return the time of all heads of a batch, as a share of running it to the last exit."""
    tokens = engine.tokenise(load.texts)
    size = (len(LAYERS), len(load.texts), _D)
    firsts = torch.randn(size, device=engine.device, dtype=torch.bfloat16)

    def heads() -> None:
        with torch.inference_mode():
            engine.encoder.classify(firsts)
            _wait(engine.device)

    last = [len(LAYERS) - 1] * len(load.texts)
    timings = paired(
        {"run": lambda: engine.run_tokens(tokens, last), "heads": heads},
        rounds=max(rounds, 3),
        clock=clock,
    )
    return timings.median_s("heads") / timings.median_s("run")


def mixed(engine: Engine, load: Workload, *, rounds: int, clock: Clock) -> float:
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
        clock=clock,
    )
    return 1 / (timings.speedup("mixed", "parts") or 1.0)


def breakdown(engine: Engine, load: Workload, name: str) -> Table:
    """Return where the time of a full-depth run goes, by kind of operation."""
    tokens = engine.tokenise(load.texts)
    last = [len(LAYERS) - 1] * len(load.texts)
    engine.run_tokens(tokens, last)
    with torch.profiler.profile() as profile:
        engine.run_tokens(tokens, last)
    spent = time_by_kind(profile.key_averages(), on_gpu=engine.device.type == "cuda")
    total = sum(spent.values())
    rows = [(kind, f"{time_us / total:.1%}") for kind, time_us in spent.most_common()]
    return Table(f"Where the time goes: {load.name}, {name}", ("part", "share"), tuple(rows))


def time_by_kind(events: Iterable[Any], *, on_gpu: bool) -> Counter[str]:
    """Return microseconds by kind of operation, of the profiler's averages.

    On a GPU the kernels count: an operation's own line has the time of its kernels once more.
    """
    spent: Counter[str] = Counter()
    for event in events:
        if not on_gpu:
            spent[_kind(event.key)] += event.self_cpu_time_total
        elif event.device_type.name == "CUDA" and not event.is_user_annotation:
            spent[_kind(event.key)] += event.self_device_time_total
    return spent


def _kind(operation: str) -> str:
    plain = operation.removeprefix("aten::").lower()
    if plain.startswith("baddbmm"):
        return "heads"
    return next((kind for word, kind in _KINDS.items() if word in plain), "other")


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()
