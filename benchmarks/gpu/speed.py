"""How fast the engine is beside what the GPU can do: by length, batch and exit."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch

from benchmarks.engine.model import even_workload
from benchmarks.engine.parts import time_by_kind
from benchmarks.gpu.findings import (
    MIXED,
    Request,
    goal,
    in_a_stream,
    median_s,
    note,
    operations,
    plain_operations,
    row,
    told,
    wait,
)
from model.engine.engine import Engine
from model.tokeniser import Tokens

_DEPTHS: dict[str, tuple[int, ...]] = {
    "12": (12,),
    "3": (3,),
    "mixed": MIXED,
    "1": (1,),
    "7": (7,),
}
_PROFILED = ("12", "3", "mixed")
_MOST_TOKENS = 600_000  # a call
_PRODUCT, _COPY_BYTES = 8192, 2 << 30
_CELL_S = 0.12
_KEPT_S, _KEPT_FOR_KERNELS_S = 25, 6  # for what a profiler tells, at the end
_MOST_KERNELS = 12
_CALLS = 4  # one after the other

Place = tuple[int, int, str]  # texts, tokens, layer
Cell = dict[str, float]


def measure(request: Request) -> None:
    """Measure the peak, then every cell, the most telling ones first."""
    peak = best_product(request)
    row(
        "What the machine does",
        bf16_product_tflops=_short(peak / 1e12),
        copy_gb_per_s=_short(copied_bytes_per_s(request) / 1e9),
    )
    engine = Engine(request.model, device=request.device, precision=request.precision)
    row(
        "The engine",
        torch=torch.__version__,
        attention=engine.encoder.attention,
        precision=engine.precision,
        max_batch_tokens=engine.max_batch_tokens,
    )
    found: dict[Place, Cell] = {}
    runs: dict[Place, Callable[[], object]] = {}
    left_out = 0
    for batch, length in _sizes(request):
        tokens = engine.tokenise(even_workload(length, batch).texts)
        for depth in _DEPTHS:
            if request.on_gpu and request.left_s() < _KEPT_S:
                left_out += 1
                continue
            place = batch, length, depth
            with told(f"{batch} texts of {length} tokens, layer {depth}"):
                runs[place], found[place] = _cell(engine, request, tokens, length, depth, peak)
    if left_out:
        note(f"no time was left for {left_out} cells, of the smallest batches")
    for place, run in runs.items():  # a profiler slows all launches down, even when it has ended
        if place[2] in _PROFILED and request.left_s() > _KEPT_FOR_KERNELS_S:
            with told("busy"):
                _busy(found[place], run, request, place)
    _goals(found)
    for length, depth in ((128, "12"), (36, "12"), (36, "3")):
        with told("where the time goes"):
            _breakdown(engine, length, depth, 1024 if request.on_gpu else 2)


def _sizes(request: Request) -> list[tuple[int, int]]:
    lengths: tuple[int, ...] = (128, 36, 50, 320)
    batches: tuple[int, ...] = (1024, 256, 4096, 128, 32, 8)
    if request.quick:
        lengths, batches = lengths[:-1], (256, 8)
    if not request.on_gpu:
        batches = (4,)
    return [(b, n) for b in batches for n in lengths if b * n <= _MOST_TOKENS]


def _cell(  # noqa: PLR0913, PLR0917  (what is measured)
    engine: Engine, request: Request, tokens: Tokens, length: int, depth: str, peak: float
) -> tuple[Callable[[], object], Cell]:
    batch = len(tokens)
    layers = [_DEPTHS[depth][i % len(_DEPTHS[depth])] for i in range(batch)]
    exits = [layer - 1 for layer in layers]
    alone = partial(engine.run_tokens, tokens, exits)
    stream = partial(in_a_stream, engine, tokens, exits, calls=_CALLS)
    alone()
    alone_s = median_s(alone, seconds=request.cell_s(_CELL_S / 2))
    seconds = median_s(stream, seconds=request.cell_s(_CELL_S)) / _CALLS
    lengths = [length] * batch
    cell: Cell = {
        "texts_per_s": _short(batch / seconds),
        "tokens_per_s": _short(batch * length / seconds),
        "share_of_peak": _short(operations(lengths, layers, request.width) / seconds / peak),
        "as_plain_bert": _short(plain_operations(lengths, layers, request.width) / seconds / peak),
        "ms": _short(1e3 * seconds),
        "ms_alone": _short(1e3 * alone_s),
        "host_ms": _short(1e3 * host_seconds(stream) / _CALLS),
    }
    row("Texts of one length, tokens ready", tokens=length, texts=batch, layer=depth, **cell)
    return stream, cell


def _busy(cell: Cell, stream: Callable[[], object], request: Request, place: Place) -> None:
    """Take from a profile how long the GPU works of the time that was measured without one."""
    kernels = profiled(stream, on_gpu=request.on_gpu)
    spent_ms = sum(time_by_kind(kernels, on_gpu=request.on_gpu).values()) / 1e3 / _CALLS
    busy = {
        "gpu_busy": _short(min(1.0, spent_ms / cell["ms"])),
        "busy_alone": _short(min(1.0, spent_ms / cell["ms_alone"])),
        "gap_ms": _short(max(0.0, cell["ms"] - spent_ms)),
        "kernels": sum(kernel.count for kernel in kernels) // _CALLS,
    }
    cell.update(busy)
    batch, length, depth = place
    row("Where launches leave gaps", tokens=length, texts=batch, layer=depth, **busy)


def profiled(run: Callable[[], object], *, on_gpu: bool) -> list[Any]:
    """Return the profiler's averages of a run: of the GPU's kernels, of operations on a CPU."""
    kinds = [
        torch.profiler.ProfilerActivity.CUDA if on_gpu else torch.profiler.ProfilerActivity.CPU
    ]
    with torch.profiler.profile(activities=kinds) as profile:
        run()
        wait("cuda" if on_gpu else "cpu")
    return [
        event
        for event in profile.key_averages()
        if not on_gpu or (event.device_type.name == "CUDA" and not event.is_user_annotation)
    ]


def host_seconds(run: Callable[[], object]) -> float:
    """Return the time of a run in which the host does not wait for the GPU."""
    waited = 0.0
    synchronize = torch.cuda.Event.synchronize

    def timed(event: torch.cuda.Event) -> None:
        nonlocal waited
        begun = time.perf_counter()
        synchronize(event)
        waited += time.perf_counter() - begun

    torch.cuda.Event.synchronize = timed  # type: ignore[assignment,method-assign]
    try:
        begun = time.perf_counter()
        run()
        return time.perf_counter() - begun - waited
    finally:
        torch.cuda.Event.synchronize = synchronize  # type: ignore[method-assign]


def best_product(request: Request) -> float:
    """Return the operations a second of a large bf16 matrix product of random numbers."""
    size = _PRODUCT if request.on_gpu else 256
    a, b = (torch.randn(size, size, device=request.device, dtype=torch.bfloat16) for _ in range(2))
    to = torch.empty_like(a)
    return 2.0 * size**3 / _device_seconds(lambda: torch.matmul(a, b, out=to), request, 30)


def copied_bytes_per_s(request: Request) -> float:
    """Return the bytes read and written a second by a large copy."""
    size = _COPY_BYTES if request.on_gpu else 1 << 24
    a = torch.randint(0, 255, (size,), device=request.device, dtype=torch.uint8)
    to = torch.empty_like(a)
    return 2.0 * size / _device_seconds(lambda: to.copy_(a), request, 20)


def _device_seconds(run: Callable[[], object], request: Request, times: int) -> float:
    """Return the median time of a run on the device, by its own clock where it has one."""
    for _ in range(5):
        run()
    if not request.on_gpu:
        return median_s(run, seconds=0.05)
    spent = []
    for _ in range(times):
        begin, end = (_mark() for _ in range(2))
        begin.record()
        run()
        end.record()
        end.synchronize()
        spent.append(float(begin.elapsed_time(end)) / 1e3)
    return sorted(spent)[times // 2]


def _mark() -> torch.cuda.Event:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]


def _goals(found: Mapping[Place, Cell]) -> None:
    def best(length: int, depth: str, figure: str) -> float | None:
        return max(
            (c[figure] for (_, n, d), c in found.items() if (n, d) == (length, depth)), default=None
        )

    goal("128 tokens, layer 12: share of the measured peak", 0.6, best(128, "12", "share_of_peak"))
    name = "128 tokens, layer 12: the same, counting a plain BERT's operations"
    goal(name, 0.6, best(128, "12", "as_plain_bert"))
    goal("50 tokens, layer 12: tokens/s", 2.8e6, best(50, "12", "tokens_per_s"))
    goal("36 tokens, layer 3: texts/s, tokens ready", 200_000, best(36, "3", "texts_per_s"))
    for length, depth in ((128, "12"), (36, "12"), (36, "3"), (36, "mixed")):
        cell = found.get((256, length, depth), {})
        name = f"256 texts of {length} tokens, layer {depth}: GPU busy"
        goal(name, 0.9, cell.get("gpu_busy"))


def _breakdown(engine: Engine, length: int, depth: str, batch: int) -> None:
    tokens = engine.tokenise(even_workload(length, batch).texts)
    run = partial(engine.run_tokens, tokens, [_DEPTHS[depth][0] - 1] * batch)
    run()
    on_gpu = engine.device.type == "cuda"
    kernels = profiled(run, on_gpu=on_gpu)
    kinds = time_by_kind(kernels, on_gpu=on_gpu)
    whole = sum(kinds.values()) or 1.0
    for kind, spent_us in kinds.most_common():
        share = _short(spent_us / whole)
        row("Where the GPU's time goes", tokens=length, layer=depth, part=kind, share=share)
    spent_by_kernel = [
        (kernel.self_device_time_total if on_gpu else kernel.self_cpu_time_total, kernel)
        for kernel in kernels
    ]
    for spent_us, kernel in sorted(spent_by_kernel, key=lambda each: -each[0])[:_MOST_KERNELS]:
        row(
            "Its longest kernels",
            tokens=length,
            layer=depth,
            kernel=kernel.key[:90],
            runs=kernel.count,
            share=_short(spent_us / whole),
        )


def _short(value: float) -> float:
    return float(f"{value:.4g}")
