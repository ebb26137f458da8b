"""Whether the engine on a GPU says what a plain network says, whatever stands beside a text."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path

import torch

from benchmarks.engine.model import invented_tokenizer, workload
from benchmarks.gpu.findings import MIXED, Request, goal, note, row, told
from benchmarks.gpu.switches import variants
from model.batches import pad
from model.checkpoint.folder import load_model, save_model
from model.engine.answers import TextResult
from model.engine.encoder import PackedEncoder
from model.engine.engine import Engine
from model.network import MultiExitEncoder
from model.tokeniser import Tokens

_TESTS = [
    f"tests/unit/test_{name}.py"
    for name in ("packed_equality", "engine_kernels", "triton_kernels", "graphs")
]
_RUNS_BEFORE = 3  # a graph is recorded when its size comes a second time
_MOST_ERRORS = 20
_SHARPER = 2.5  # so that attention looks at some tokens more than at others
_LIMITS = {"fp32": 1e-3, "bf16": 0.1}  # of a probability


def measure(request: Request) -> None:
    """Compare probabilities at BERT-base's sizes, then run the tests that need a GPU."""
    few = request.quick or not request.on_gpu
    texts = [
        *workload("short", 6 if few else 96).texts,
        *workload("long", 2 if few else 24).texts,
    ]
    folder = request.model.parent / "sharper"
    network = _sharper(load_model(request.model))
    save_model(network, invented_tokenizer(), folder)
    plain = load_model(folder)
    right = []
    for precision in ("fp32", "bf16"):
        engine = Engine(folder, device=request.device, precision=precision)
        tokens = engine.tokenise(texts)
        if precision == "fp32":
            expected = _reference(deepcopy(plain).to(request.device).double().eval(), tokens)
        for name, switches in variants(request.device, precision).items():
            with told(f"{precision}, {name}"):
                right.append(False)
                engine.encoder = PackedEncoder(
                    deepcopy(plain), precision=precision, device=engine.device, **switches
                )
                right[-1] = _compare(engine, name, texts, expected)
    name = "as the plain network and the same whatever the neighbours: share of the ways to run"
    goal(name, 1.0, sum(right) / len(right))
    if not request.quick:
        with told("tests"):
            _tests(request)


def _compare(engine: Engine, name: str, texts: list[str], expected: torch.Tensor) -> bool:
    tokens = engine.tokenise(texts)
    exits = [MIXED[i % len(MIXED)] - 1 for i in range(len(texts))]
    for _ in range(_RUNS_BEFORE):
        full = engine.run_tokens(tokens, [11] * len(texts))
        mixed = engine.run_tokens(tokens, exits)
    again = engine.run_tokens(tokens, exits)
    some = range(0, len(texts), 5)
    for _ in range(_RUNS_BEFORE):
        alone = [engine.run([texts[i]], [exits[i]])[0] for i in some]
    among = [mixed[i] for i in some]
    off = max(
        abs(float(wanted[exit_, label]) - score) if score == score else math.inf  # noqa: PLR0124
        for result, wanted in zip(full, expected, strict=True)
        for exit_, (label, score) in enumerate(zip(result.labels, result.scores, strict=True))
    )
    stopping, neighbours, repeated = apart(mixed, full), apart(alone, among), apart(mixed, again)
    same = [
        label == int(answer)
        for result, wanted in zip(full, expected.argmax(-1), strict=True)
        for label, answer in zip(result.labels, wanted, strict=True)
    ]
    equal = max(off, stopping, neighbours, repeated) <= _LIMITS[engine.precision]
    row(
        "Probabilities: largest difference",
        precision=engine.precision,
        kernels=name,
        attention=engine.encoder.attention,
        from_the_plain_network=_short(off),
        by_stopping_early=_short(stopping),
        by_neighbours=_short(neighbours),
        by_running_again=_short(repeated),
        same_labels=f"{sum(same) / len(same):.2%}",
        between_texts=_short(float(expected.std(0).mean())),
        equal="yes" if equal else "**no**",
    )
    return equal


def apart(some: Sequence[TextResult], others: Sequence[TextResult]) -> float:
    """Return the largest difference of the scores of exits that both have."""
    return max(
        abs(x - y)
        for one, other in zip(some, others, strict=True)
        for x, y in zip(one.scores, other.scores, strict=False)
    )


def _reference(network: MultiExitEncoder, tokens: Tokens) -> torch.Tensor:
    """Return the plain network's probabilities, (texts, exits, classes), of padded batches.

    It computes in float64, so that what differs is the engine's rounding.
    """
    device = next(network.parameters()).device
    parts = []
    for start in range(0, len(tokens), 16):
        ids, mask = pad(tokens.ids[start : start + 16], network.config.pad_token_id)
        with torch.inference_mode():
            logits = network(ids.to(device), mask.to(device))
        parts.append(torch.stack([x.softmax(-1) for x in logits], dim=1).cpu())
    return torch.cat(parts)


def _sharper(network: MultiExitEncoder) -> MultiExitEncoder:
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.Linear):
                module.weight.mul_(_SHARPER)
    return network


def _tests(request: Request) -> None:
    done = subprocess.run(  # noqa: S603  (ourselves)
        [
            sys.executable, "-P", "-m", "pytest", "-q", "-W", "default", "-p", "no:cacheprovider",
            "--no-header", "--disable-warnings", "-k", "not cpu", *_TESTS,
        ],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=max(1.0, request.left_s()),
    )  # fmt: skip
    lines = done.stdout.strip().splitlines() or ["nothing"]
    told_errors = [line for line in lines if line.startswith(("FAILED", "ERROR", "E  "))]
    for line in told_errors[-_MOST_ERRORS:]:
        note(line[:300])
    row("Tests", files=" ".join(_TESTS), status=done.returncode, said=lines[-1])


def _short(value: float) -> float:
    return float(f"{value:.3g}")
