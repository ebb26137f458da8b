"""The engine beside transformers' BERT on padded batches, plain and compiled, in turns."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.engine.model import HEAD_WIDTH, even_workload, workload
from benchmarks.gpu.findings import Request, goal, note, row, told, wait
from benchmarks.timing import Timings, paired
from model.engine.engine import Engine
from model.tokeniser import Tokens

Run = Callable[[], object]
Model = Callable[..., Any]

_BATCH = 128  # texts of a padded batch
_STEP = 8  # padded lengths are multiples: tensor cores want it, and there are fewer shapes
_OURS, _COMPILED = "ours", "torch.compile"
_MIXED = ("short", "long")


def measure(request: Request) -> None:
    """Measure plain transformers, then compile them, which takes the longest."""
    count = (256 if request.quick else 1024) if request.on_gpu else 8
    loads = {name: workload(name, count) for name in _MIXED}
    loads["128 each"] = even_workload(128, count)
    engine = Engine(request.model, device=request.device, precision=request.precision)
    tokens = {name: engine.tokenise(load.texts) for name, load in loads.items()}
    ours = {
        name: partial(engine.run_tokens, load, [11] * len(load)) for name, load in tokens.items()
    }
    model = _bert(request)
    for name, load in tokens.items():
        with told(f"transformers, {name}"):
            _contest(name, load, ours[name], {"transformers SDPA": model}, request)
    if request.quick:
        note("torch.compile is left out of a quick run")
        return
    torch._dynamo.config.cache_size_limit = 64  # noqa: SLF001  (its documented setting)
    compiled = torch.compile(model, dynamic=True)
    for name in _MIXED:
        with told(f"torch.compile, {name}"):
            timings = _contest(name, tokens[name], ours[name], {_COMPILED: compiled}, request)
            goal(
                f"mixed lengths ({name}): over torch.compile on padded batches as they come",
                1.5,
                timings.speedup(_OURS, f"{_COMPILED}, as they come"),
            )
            note(
                f"{name}: over torch.compile on batches sorted by length "
                f"{timings.speedup(_OURS, f'{_COMPILED}, sorted by length'):.3g}"
            )
    with told("torch.compile, 128 each"):
        _contest("128 each", tokens["128 each"], ours["128 each"], {_COMPILED: compiled}, request)


def _contest(
    name: str, load: Tokens, ours: Run, models: Mapping[str, Model], request: Request
) -> Timings:
    rows = list(load.ids)
    orders = {"as they come": rows}
    if len(set(map(len, rows))) > 1:
        orders["sorted by length"] = sorted(rows, key=len)
    runs: dict[str, Run] = {_OURS: ours}
    for who, model in models.items():
        for how, order in orders.items():
            runs[f"{who}, {how}"] = partial(run_padded, model, order, request.device)
    for run in runs.values():
        run()
    timings = paired(runs, rounds=5 if request.on_gpu else 1, clock=_clock(request.device))
    for who in runs:
        seconds = timings.median_s(who)
        row(
            "Beside transformers, bf16, layer 12, tokens ready",
            texts=name,
            who=who,
            texts_per_s=round(len(load) / seconds),
            tokens_per_s=round(load.count / seconds),
            ours_over_it=float(f"{timings.speedup(_OURS, who) or 0.0:.3g}"),
        )
    return timings


def run_padded(model: Model, rows: Sequence[Sequence[int]], device: str) -> list[Tensor]:
    """Return the probabilities of padded batches; all are launched before one is waited for."""
    found = []
    with torch.inference_mode():
        for start in range(0, len(rows), _BATCH):
            ids, mask = (x.to(device, non_blocking=True) for x in padded(rows, start, device))
            logits = model(input_ids=ids, attention_mask=mask).logits
            found.append(logits.float().softmax(-1))
        return [probabilities.cpu() for probabilities in found]


def padded(rows: Sequence[Sequence[int]], start: int, device: str) -> tuple[Tensor, Tensor]:
    """Return ids and mask of the batch that begins at `start`, in pinned memory for a GPU."""
    batch = rows[start : start + _BATCH]
    width = -(-max(map(len, batch)) // _STEP) * _STEP
    ids = np.zeros((len(batch), width), dtype=np.int64)
    for i, row_ids in enumerate(batch):
        ids[i, : len(row_ids)] = row_ids
    found = torch.from_numpy(ids)
    mask = (found != 0).long()
    return (found.pin_memory(), mask.pin_memory()) if device == "cuda" else (found, mask)


def _bert(request: Request) -> Model:
    import transformers

    transformers.logging.set_verbosity_error()
    torch.manual_seed(0)
    config = transformers.BertConfig(
        hidden_size=request.width,
        num_attention_heads=request.width // HEAD_WIDTH,
        intermediate_size=4 * request.width,
        num_labels=2,
        attn_implementation="sdpa",
    )
    model = transformers.BertForSequenceClassification(config).eval()
    placed: Model = model.to(request.device, torch.bfloat16 if request.on_gpu else torch.float32)
    return placed


def _clock(device: str) -> Callable[[], float]:
    def now() -> float:
        wait(device)
        return time.perf_counter()

    return now
