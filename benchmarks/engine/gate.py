"""Measures what gates cost: against a run without them, and against one that knows each exit.

The shipped model reads the sample reviews, with one gate for all texts. The random BERT-base has
heads that are surer the deeper they are, so that each text's own gate says where it stops: a third
of the texts after layer 3, a third after layer 6, the others at the end. Seconds are CPU seconds of
one thread, tokenising is left out, and ratios are taken within rounds.
"""

from __future__ import annotations

import math
import tempfile
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import cast

import torch
from torch import nn

from benchmarks.engine.model import invented_tokenizer, workload, write_model
from benchmarks.report import Goal, Report, Table, hand_in, parser
from benchmarks.timing import Timings, clock_for, paired
from consumer.settings.sections import PRETRAINED
from demo.texts import read_texts, sample_files
from model.checkpoint.folder import load_model, save_model
from model.engine.engine import Engine
from model.tokeniser import Tokens

_LAYERS = (1, 3, 6, 9, 12)
_STOPS = (1, 2, 4)  # exits of a third of the texts each
_STEP = 0.3  # by which the logit of the first class grows from exit to exit
_COLUMNS = ("model", "texts", "stopping at each exit", "off", "gates", "full depth")


def main() -> None:
    """Parse the command line, measure, write."""
    arguments = parser("engine.gate", __doc__)
    arguments.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    arguments.add_argument("--rounds", type=int, help="how often each contestant runs")
    options = arguments.parse_args()
    torch.set_num_threads(1)
    rounds = options.rounds or (3 if options.quick else 15)
    hand_in(measure(options.device, rounds, quick=options.quick), options)


def measure(device: str, rounds: int, *, quick: bool) -> Report:
    """Compare both models in fp32 and in bf16."""
    report = Report("gate" if device == "cpu" else "gate_cuda")
    texts = 124 if device == "cpu" else 992
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        random = surer_with_depth(Path(scratch) / "model", width=192 if quick else 768)
        for name, folder in (("shipped", PRETRAINED), ("random", random)):
            for precision in ("fp32", "bf16"):
                engine = Engine(folder, device=device, precision=precision)
                load, gates = (shipped if name == "shipped" else invented)(engine, texts)
                label = f"{name}, {precision}"
                timings, stops = compare(engine, load, gates, rounds, device)
                off, gated, full = (over(timings, run) for run in ("off", "gates", "full"))
                spread = " / ".join(
                    str(Counter(stops)[exit_]) for exit_ in range(engine.config.exits)
                )
                rows.append((label, len(load), spread, *(round(x, 3) for x in (off, gated, full))))
                report.goals += [
                    Goal.at_most(f"{label}: gates of 0 over no gates", 1.01, off),
                    Goal.at_most(f"{label}: gates over exits that are known", 1.03, gated),
                ]
    report.tables.append(Table("Time over that of a run whose exits are known", _COLUMNS, (*rows,)))
    report.notes += [
        "random: exits after layers " + ", ".join(map(str, _LAYERS)),
        "off: the known exits, with a gate of 0 for each text; full depth: without gates",
    ]
    return report


def surer_with_depth(folder: Path, *, width: int) -> Path:
    """Write a random model whose first class grows likelier from exit to exit."""
    network = load_model(write_model(folder, layers=_LAYERS, width=width))
    with torch.no_grad():
        for exit_, layer in enumerate(_LAYERS):
            head = cast("nn.Linear", network.classifiers[str(layer - 1)])
            head.weight.mul_(0.1)
            head.bias.copy_(torch.tensor([_STEP * exit_, 0.0]))
    save_model(network, invented_tokenizer(), folder)
    return folder


def invented(engine: Engine, texts: int) -> tuple[Tokens, list[int]]:
    """Return invented texts, and gates that stop a third of them at each of three exits."""
    between = [round(1000 / (1 + math.exp(-_STEP * (exit_ - 0.5)))) for exit_ in _STOPS]
    tokens = engine.tokenise(workload("short", texts).texts)
    return tokens, [between[i % 3] for i in range(texts)]


def shipped(engine: Engine, texts: int) -> tuple[Tokens, list[int]]:
    """Return sample reviews, and the gate that spreads them most evenly over the exits."""
    samples = [[text.text for text in read_texts(path)] for path in sample_files().values()]
    mixed = [text for row in zip(*samples, strict=False) for text in row]
    tokens = engine.tokenise(mixed[:texts])
    deepest = engine.config.exits - 1

    def largest(gate: int) -> int:
        stops = stops_of(engine, tokens, [deepest] * texts, [gate] * texts)
        return max(Counter(stops).values())

    return tokens, [min(range(500, 1000, 10), key=largest)] * texts


def stops_of(
    engine: Engine, tokens: Tokens, exits: Sequence[int], gates: Sequence[int]
) -> list[int]:
    """Return the exit at which each text stops."""
    return [len(result.labels) - 1 for result in engine.run_tokens(tokens, exits, gates)]


def compare(
    engine: Engine, tokens: Tokens, gates: list[int], rounds: int, device: str
) -> tuple[Timings, list[int]]:
    """Time texts with gates beside texts whose exits are known; return where they stop, too."""
    last = [engine.config.exits - 1] * len(tokens)
    stops = stops_of(engine, tokens, last, gates)
    runs = {
        "known": partial(engine.run_tokens, tokens, stops),
        "off": partial(engine.run_tokens, tokens, stops, [0] * len(tokens)),
        "gates": partial(engine.run_tokens, tokens, last, gates),
        "full": partial(engine.run_tokens, tokens, last),
    }
    return paired(runs, rounds=rounds, clock=clock_for(device=device, threads=1)), stops


def over(timings: Timings, run: str) -> float:
    """Return the time of a run over that of known exits."""
    return 1 / (timings.speedup(run, "known") or math.nan)


if __name__ == "__main__":
    main()
