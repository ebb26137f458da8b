"""What each choice of kernels is worth: the engine with one of them changed."""

from __future__ import annotations

from copy import deepcopy
from functools import partial
from typing import Any

from benchmarks.engine.model import even_workload
from benchmarks.gpu.findings import MIXED, Request, in_a_stream, median_s, row, told
from model.checkpoint.folder import load_model
from model.engine.encoder import PackedEncoder
from model.engine.engine import Engine

_SIZES = [(128, 1024, 12), (36, 1024, 3), (36, 1024, 12), (50, 1024, 12), (320, 256, 12)]
_FEW = [(36, texts, layer) for texts in (8, 32, 64) for layer in (3, 12, 0)]  # 0: mixed
_BUDGETS = [  # tokens in a batch at most, tokens, layer
    (most, *load) for load in ((36, 3), (50, 12), (128, 12)) for most in (16384, 65536)
]
_CELL_S = 0.15
_CALLS = 2


def variants(device: str, precision: str) -> dict[str, dict[str, Any]]:
    """Return the choices of kernels by name, as `PackedEncoder` takes them; first its own."""
    choices: list[tuple[str, Any]] = [("attention", "blocks")]
    if device == "cuda":
        choices += [("norm", "torch")]
        if precision == "bf16":
            choices += [("attention", name) for name in ("flash", "varlen")]
            choices += [("gelu", "erf"), ("graphs", False)]
    return {"as chosen": {}, **{f"{name}={value}": {name: value} for name, value in choices}}


def measure(request: Request) -> None:
    """Measure every choice at a few sizes, then larger and smaller batches."""
    engine = Engine(request.model, device=request.device, precision=request.precision)
    network = load_model(request.model)
    for name, switches in variants(request.device, request.precision).items():
        with told(name):
            engine.encoder = PackedEncoder(
                deepcopy(network), precision=request.precision, device=engine.device, **switches
            )
            few = not switches or "graphs" in switches
            for length, texts, layer in [*_SIZES, *(_FEW if few else [])]:
                _row("Kernels one by one", engine, request, texts, length, layer, kernels=name)
    for most, length, layer in _BUDGETS:
        with told(f"batches of {most} tokens"):
            engine = Engine(
                request.model,
                device=request.device,
                precision=request.precision,
                max_batch_tokens=most,
            )
            _row("Tokens in a batch", engine, request, 2048, length, layer, at_most=most)


def _row(  # noqa: PLR0913, PLR0917
    table: str,
    engine: Engine,
    request: Request,
    texts: int,
    length: int,
    layer: int,
    **first: object,
) -> None:
    tokens = engine.tokenise(even_workload(length, texts if request.on_gpu else 2).texts)
    exits = [(layer or MIXED[i % len(MIXED)]) - 1 for i in range(len(tokens))]
    run = partial(in_a_stream, engine, tokens, exits, calls=_CALLS)
    run()
    run()
    seconds = median_s(run, seconds=request.cell_s(_CELL_S)) / _CALLS
    row(
        table,
        **first,
        tokens=length,
        texts=len(tokens),
        layer=layer or "mixed",
        texts_per_s=round(len(tokens) / seconds),
        ms=float(f"{1e3 * seconds:.4g}"),
    )
