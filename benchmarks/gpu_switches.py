"""What each choice of kernels is worth: the engine with one of them changed."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from benchmarks.engine_model import even_workload
from benchmarks.gpu_findings import Request, median_s, row, told
from model.checkpoint import load_model
from model.encoder import PackedEncoder
from model.engine import Engine

_SIZES = ((128, 1024, 12), (36, 1024, 3), (36, 32, 12))  # tokens, texts, layer
_CELL_S = 0.2


def variants(device: str, precision: str) -> dict[str, dict[str, Any]]:
    """Return the choices of kernels by name, as `PackedEncoder` takes them; first its own."""
    found: dict[str, dict[str, Any]] = {
        "as chosen": {},
        "attention in blocks": {"attention": "blocks"},
    }
    if device == "cuda" and precision == "bf16":
        found |= {f"attention {name}": {"attention": name} for name in ("varlen", "flash")}
    return found


def measure(request: Request) -> None:
    """Measure every choice at a few sizes."""
    engine = Engine(request.model, device=request.device, precision=request.precision)
    for name, switches in variants(request.device, request.precision).items():
        with told(name):
            engine.encoder = PackedEncoder(
                load_model(request.model),
                precision=request.precision,
                device=torch.device(request.device),
                **switches,
            )
            for length, texts, layer in _SIZES:
                count = texts if request.on_gpu else min(texts, 2)
                tokens = engine.tokenise(even_workload(length, count).texts)
                run = partial(engine.run_tokens, tokens, [layer - 1] * count)
                run()
                seconds = median_s(run, seconds=_CELL_S)
                row(
                    "Kernels one by one",
                    kernels=name,
                    tokens=length,
                    texts=count,
                    layer=layer,
                    texts_per_s=round(count / seconds),
                    ms=float(f"{1e3 * seconds:.4g}"),
                )
