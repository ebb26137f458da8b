"""What each choice of kernels is worth: the engine with one of them changed."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import partial
from inspect import signature
from typing import Any

from benchmarks.engine_model import even_workload
from benchmarks.gpu_findings import Request, in_a_stream, median_s, row, told
from model.checkpoint import load_model
from model.encoder import PackedEncoder
from model.engine import Engine

ROUGH = "gelu=tanh"  # another formula: not the same values
_SIZES = (  # tokens, texts, layer
    (128, 1024, 12),
    (36, 1024, 3),
    (36, 1024, 12),
    (50, 1024, 12),
    (320, 256, 12),
    (36, 32, 12),
)
_BUDGETS = [  # tokens in a batch at most, tokens, layer
    (most, *load) for load in ((36, 3), (50, 12), (128, 12)) for most in (16384, 65536)
]
_CELL_S = 0.15


def variants(device: str, precision: str) -> dict[str, dict[str, Any]]:
    """Return the choices of kernels by name, as `PackedEncoder` takes them; first its own."""
    choices: list[tuple[str, Any]] = [("attention", "blocks")]
    if device == "cuda":
        choices += [("norm", "torch"), ("joint", False)]
        if precision == "bf16":
            choices += [("attention", name) for name in ("triton", "flash", "varlen")]
            choices += [("gelu", "in cache"), ("gelu", "tanh")]
    known = signature(PackedEncoder).parameters
    changed = {f"{name}={value}": {name: value} for name, value in choices if name in known}
    return {"as chosen": {}, **changed}


def measure(request: Request) -> None:
    """Measure every choice at a few sizes, then larger and smaller batches."""
    engine = Engine(request.model, device=request.device, precision=request.precision)
    network = load_model(request.model)
    loads = {
        (length, texts): engine.tokenise(
            even_workload(length, texts if request.on_gpu else 2).texts
        )
        for length, texts, _ in _SIZES
    }
    for name, switches in variants(request.device, request.precision).items():
        with told(name):
            engine.encoder = PackedEncoder(
                deepcopy(network),
                precision=request.precision,
                device=engine.device,
                **switches,
            )
            for length, texts, layer in _SIZES:
                tokens = loads[length, texts]
                run = partial(in_a_stream, engine, tokens, [layer - 1] * len(tokens), calls=2)
                _row("Kernels one by one", len(tokens), length, layer, run, kernels=name)
    for most, length, layer in _BUDGETS:
        with told(f"batches of {most} tokens"):
            engine = Engine(
                request.model,
                device=request.device,
                precision=request.precision,
                max_batch_tokens=most,
            )
            tokens = engine.tokenise(even_workload(length, 2048 if request.on_gpu else 2).texts)
            run = partial(in_a_stream, engine, tokens, [layer - 1] * len(tokens), calls=2)
            _row("Tokens in a batch at most", len(tokens), length, layer, run, max_tokens=most)


def _row(  # noqa: PLR0913
    table: str,
    texts: int,
    length: int,
    layer: int,
    run: Callable[[], object],
    **first: object,
) -> None:
    run()
    seconds = median_s(run, seconds=_CELL_S) / 2
    row(
        table,
        **first,
        tokens=length,
        texts=texts,
        layer=layer,
        texts_per_s=round(texts / seconds),
        ms=float(f"{1e3 * seconds:.4g}"),
    )
