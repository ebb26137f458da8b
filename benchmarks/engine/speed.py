"""Measures the engine beside transformers, ONNX Runtime and OpenVINO: BERT-base, real lengths.

One process and one thread (on the CPU), so figures are texts a second and core. All contestants
run in every round and ratios are taken within rounds, so a slow minute of the machine hits all.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import torch

from benchmarks.engine.memory import memory
from benchmarks.engine.model import (
    LAYERS,
    Workload,
    even_workload,
    make_int8,
    workload,
    write_model,
)
from benchmarks.engine.parts import (
    best_products,
    breakdown,
    depth,
    flops,
    heads_share,
    mixed,
)
from benchmarks.engine.rivals import Rivals
from benchmarks.report import Goal, Report, Table, hand_in, parser
from benchmarks.timing import Timings, clock_for, paired
from model.engine.engine import Engine

_PRODUCTS = "plain matrix products"
_EXTRA = ("onnx", "onnxruntime", "openvino")


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured."""

    short_texts: int
    long_texts: int
    rounds: int
    rivals: bool
    layers: tuple[int, ...]
    even_texts: int = 0  # of 128 tokens, which a GPU's share of its peak is asked for


FULL = Size(short_texts=64, long_texts=22, rounds=5, rivals=True, layers=LAYERS)
QUICK = Size(short_texts=12, long_texts=2, rounds=1, rivals=False, layers=(1, 3, 12))
# About 32,000 tokens each, a GPU's batch: with fewer, launching kernels would be measured.
FULL_CUDA = replace(FULL, short_texts=992, long_texts=144, even_texts=256)
QUICK_CUDA = replace(QUICK, short_texts=992, long_texts=144, even_texts=256)
_SHARES = {("cpu", "short"): 0.80, ("cpu", "long"): 0.75, ("cuda", "even"): 0.60}


def main() -> None:
    """Parse the command line, measure, write."""
    arguments = parser("engine.speed", __doc__)
    arguments.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    arguments.add_argument("--threads", type=int, default=1, help="of torch (default: 1)")
    arguments.add_argument("--rounds", type=int, help="how often each contestant runs")
    options = arguments.parse_args()
    torch.set_num_threads(options.threads)
    sizes = (FULL, QUICK) if options.device == "cpu" else (FULL_CUDA, QUICK_CUDA)
    size = sizes[options.quick]
    rounds = options.rounds or size.rounds
    with tempfile.TemporaryDirectory() as scratch:
        report = measure(Path(scratch), options.device, options.threads, size, rounds)
    hand_in(report, options)


def measure(scratch: Path, device: str, threads: int, size: Size, rounds: int) -> Report:
    """Run every part and return the report."""
    report = Report("engine" if device == "cpu" else "engine_cuda")
    loads = [workload("short", size.short_texts), workload("long", size.long_texts)]
    if size.even_texts:
        loads.append(even_workload(128, size.even_texts))
    folder = write_model(scratch / "model")
    engines = {"fp32": Engine(folder, device=device)}
    engines["bf16"] = Engine(folder, device=device, precision="bf16")
    if device == "cpu":
        make_int8(folder, engines["fp32"], loads[0].texts[:8] + loads[1].texts[:2])
        engines["int8"] = Engine(folder, precision="int8", device="cpu", least_int8_agreement=0.0)
    missing = [] if not size.rivals else [name for name in _EXTRA if find_spec(name) is None]
    rivals = _rivals(Rivals(scratch, device=device, threads=threads), device, size, missing)
    best = engines["bf16"]
    clock = clock_for(device=device, threads=threads)
    products = best_products(best.device, clock=clock)
    for load in loads:
        ours = {
            f"ours {name}": partial(engine.run, load.texts, [len(LAYERS) - 1] * len(load.texts))
            for name, engine in engines.items()
        }
        theirs = {name: partial(run, load.texts) for name, run in rivals.items()}
        timings = paired({**theirs, **ours, _PRODUCTS: products.run}, rounds=rounds, clock=clock)
        peak = products.operations / timings.median_s(_PRODUCTS)
        report.tables.append(_speeds(load, timings))
        report.goals += _speed_goals(load, timings, device)
        table, excess, share = depth(
            best, load, rounds=rounds, clock=clock, peak=peak, layers=size.layers
        )
        if device == "cpu":  # tokenising included, which a GPU would wait for
            quicker = timings.speedup("ours bf16", _PRODUCTS) or 0.0
            share = quicker * flops(load, len(LAYERS)) / products.operations
        if (device, load.name) in _SHARES:
            name = f"{load.name}: share of the bf16 matrix-multiply peak"
            report.goals.append(Goal.at_least(name, _SHARES[device, load.name], share))
        report.tables.append(table)
        name = f"{load.name}: cost of an exit over (layer - 0.8) / 12, worst"
        report.goals.append(Goal.at_most(name, 0.02, excess))
        name = f"{load.name}: all heads, share of a full run"
        report.goals.append(
            Goal.at_most(name, 0.005, heads_share(best, load, rounds=rounds, clock=clock))
        )
        name = f"{load.name}: mixed batch over the sum of its parts"
        report.goals.append(Goal.at_most(name, 1.02, mixed(best, load, rounds=rounds, clock=clock)))
        report.notes.append(f"{load.name}: {load.source}; bf16 peak {peak / 1e9:.0f} GFLOP/s")
        report.tables += [breakdown(engine, load, name) for name, engine in engines.items()]
    if missing:
        report.notes.append(
            f"left out what needs {', '.join(missing)}: not installed (`make bench` installs it)"
        )
    report.tables.append(memory(folder, device=device, precision="bf16", quick=not size.rivals))
    report.notes += [
        "seconds are CPU seconds of one thread" if clock is time.process_time else "wall clock",
        "ours includes tokenising; all twelve layers carry an exit and all of them are answered",
        "sorted-batch transformers, ONNX Runtime and OpenVINO run batches of 16, sorted by length",
    ]
    return report


def _rivals(
    rivals: Rivals, device: str, size: Size, missing: Sequence[str]
) -> dict[str, Callable[..., object]]:
    found = {"transformers pipeline, batch 32": rivals.pipeline(32)}
    if not size.rivals:
        return found
    found["transformers pipeline, batch 1"] = rivals.pipeline(1)
    found["transformers sorted batches fp32"] = rivals.sorted_batches(torch.float32)
    found["transformers sorted batches bf16"] = rivals.sorted_batches(torch.bfloat16)
    if device == "cpu" and not {"onnx", "onnxruntime"} & set(missing):
        found["ONNX Runtime fp32"] = rivals.onnx(int8=False)
        found["ONNX Runtime int8"] = rivals.onnx(int8=True)
    if device == "cpu" and not {"onnx", "openvino"} & set(missing):
        found["OpenVINO f32"] = rivals.openvino("f32")
        found["OpenVINO bf16"] = rivals.openvino("bf16")
    return found


def _speeds(load: Workload, timings: Timings) -> Table:
    base = "transformers pipeline, batch 32"
    rows = sorted(
        (
            (
                name,
                round(len(load.texts) / timings.median_s(name), 2),
                f"{timings.speedup(name, base):.2f} x",
            )
            for name in timings.seconds
            if name != _PRODUCTS
        ),
        key=lambda row: row[1],
    )
    mean = sum(load.tokens) / len(load.tokens)
    title = f"{load.name.capitalize()} texts ({mean:.0f} tokens), full depth"
    return Table(title, ("engine", "texts/s", "beside pipeline-32"), tuple(rows))


def _speed_goals(load: Workload, timings: Timings, device: str) -> list[Goal]:
    if device != "cpu":
        return []
    asked = {
        "short": [
            ("bf16", "transformers pipeline, batch 32", 11.0),
            ("bf16", "OpenVINO bf16", 1.3),
            ("int8", "transformers pipeline, batch 32", 17.0),
            ("int8", "ONNX Runtime int8", 1.6),
        ],
        "long": [("bf16", "OpenVINO bf16", 1.0), ("int8", "ONNX Runtime int8", 1.5)],
    }
    return [
        Goal.at_least(
            f"{load.name}: {ours} over {theirs}", least, timings.speedup(f"ours {ours}", theirs)
        )
        for ours, theirs, least in asked[load.name]
    ]


if __name__ == "__main__":
    main()
