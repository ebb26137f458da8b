"""The GPU's memory: what a batch takes at most, and what happens where it is short."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from benchmarks.engine.model import even_workload
from benchmarks.gpu.equality import apart
from benchmarks.gpu.findings import Request, goal, note, row, told
from model.engine.engine import Engine

_ROOM_BYTES = 96 << 20  # beyond what is held: less than a full batch takes
_BATCHES_UNTIL_USUAL = 1500  # a hundred for each doubling
_CLOSE = 0.05  # of a probability: halves may run through other kernels


def measure(request: Request) -> None:
    """Measure the peak by the size of batches, then take memory away."""
    engine = Engine(request.model, device=request.device, precision=request.precision)
    texts = 2048 if request.on_gpu else 4
    tokens = engine.tokenise(even_workload(128, texts).texts)
    exits = [11] * texts
    with told("memory that is short"):
        _short_of_memory(engine, request)
    del engine
    for budget in (8192, 32768, 131072) if request.on_gpu else (4096,):
        with told(f"batches of {budget} tokens"):
            engine = Engine(
                request.model,
                device=request.device,
                precision=request.precision,
                max_batch_tokens=budget,
            )
            before = _reset(request)
            engine.run_tokens(tokens, exits)
            row(
                f"Peak memory of {texts} texts of 128 tokens, layer 12, beyond weights",
                tokens_in_a_batch=budget,
                mib=round((_peak(request) - before) / 2**20),
                weights_mib=round(before / 2**20),
            )
            del engine


def _short_of_memory(engine: Engine, request: Request) -> None:
    texts = 1024 if request.on_gpu else 4
    tokens = engine.tokenise(even_workload(128, texts).texts)
    exits = [(0, 2, 6, 11)[i % 4] for i in range(texts)]
    plenty = engine.run_tokens(tokens, exits)
    most = engine.max_batch_tokens
    with _little_memory(request):
        scarce = engine.run_tokens(tokens, exits)
        least = engine.max_batch_tokens
    few = engine.tokenise(even_workload(16, 64).texts)
    for _ in range(_BATCHES_UNTIL_USUAL):
        if engine.max_batch_tokens == most:
            break
        engine.run_tokens(few, [0] * len(few))
    later = engine.run_tokens(tokens, exits)
    found = {
        "tokens in a batch at most": most,
        "the same while memory is short": least,
        "the same a while later": engine.max_batch_tokens,
        "largest difference of a probability while memory is short": apart(plenty, scarce),
        "largest difference of a probability a while later": apart(plenty, later),
    }
    for what, value in found.items():
        row("Memory that is short", what=what, found=value)
    goal(
        "out of memory: every text answered, in smaller batches",
        1.0,
        float(apart(plenty, scarce) <= _CLOSE and (least < most or not request.on_gpu)),
    )


@contextmanager
def _little_memory(request: Request) -> Iterator[None]:
    if not request.on_gpu:
        note("memory is taken away on a GPU only")
        yield
        return
    torch.cuda.empty_cache()
    room = torch.cuda.memory_reserved() + _ROOM_BYTES
    whole = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(room / whole)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def _reset(request: Request) -> int:
    if not request.on_gpu:
        return 0
    torch.cuda.reset_peak_memory_stats()
    return int(torch.cuda.memory_allocated())


def _peak(request: Request) -> int:
    return int(torch.cuda.max_memory_allocated()) if request.on_gpu else 0
